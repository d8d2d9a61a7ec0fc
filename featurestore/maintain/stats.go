package maintain

import (
	"context"
	"slices"
	"time"

	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/statistics"
	"github.com/onehop/onehop/featurestore/training"
)

// FeatureStatistics say what the values of a feature were like at one time.
type FeatureStatistics struct {
	Feature string    `json:"feature"`
	At      time.Time `json:"at"`
	statistics.Summary
	// PSI is how far the values of the last time have drifted from the baseline; nil of other
	// times and without a baseline.
	PSI *float64 `json:"psi,omitempty"`
}

// Statistics sums up the features of a join as they were at some times, oldest first, for a
// sample of entities; see [Sample].
func Statistics(ctx context.Context, s *history.Snapshot, join *training.Join, times []int64, n int, baselines map[string]statistics.Baseline) ([]FeatureStatistics, error) {
	sampled, err := Sample(ctx, s, join, times, n)
	if err != nil {
		return nil, err
	}
	all := make([]FeatureStatistics, len(sampled))
	for i := range sampled {
		at := &sampled[i]
		all[i] = FeatureStatistics{Feature: at.Ref.String(), At: time.UnixMicro(at.At).UTC(), Summary: statistics.Summarize(at.Cells)}
		if b, ok := baselines[at.Ref.String()]; ok && at.At == times[len(times)-1] {
			psi := b.PSI(at.Cells)
			all[i].PSI = &psi
		}
	}
	return all, nil
}

// EndsOfDays are the ends of the days before the day of now, in UTC, and now, oldest first; in
// microseconds.
func EndsOfDays(now time.Time, days int) []int64 {
	times := []int64{now.UnixMicro()}
	for midnight := now.UTC().Truncate(24 * time.Hour); len(times) < days; midnight = midnight.Add(-24 * time.Hour) {
		times = append(times, midnight.UnixMicro())
	}
	slices.Reverse(times)
	return times
}
