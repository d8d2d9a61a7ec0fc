package maintain

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/served"
)

// ServedVerifier compares the serving log with the values that history gives at its read times
// and watermarks. It is safe for concurrent use.
type ServedVerifier struct {
	Pool *pgxpool.Pool
	// Catalogs are all versions of the definitions: vectors are computed by the one by which
	// they were served.
	Catalogs []*featurestore.Catalog
	// Wait is how long history may take to get as far as the vectors are; 0 is not at all.
	Wait time.Duration
	// Progress, if set, is told how many vectors more were compared.
	Progress func(vectors int)
}

// Skew is how far what was served is from what history gives.
type Skew struct {
	// Vectors is how many were compared, and Points how many of their values.
	Vectors int `json:"vectors"`
	Points  int `json:"points"`
	// Different is how many values differ, and Share which part of the points that is.
	Different int     `json:"different"`
	Share     float64 `json:"skew"`
	// Reasons are why they differ.
	Reasons map[Reason]int `json:"reasons,omitempty"`
	// Unchecked is how many values could not be compared, by why not.
	Unchecked map[string]int `json:"unchecked,omitempty"`
	// Differences are the first values that differ, at most one hundred.
	Differences []ServedDifference `json:"differences,omitempty"`
}

// ServedDifference is a served value that is not the one that history gives.
type ServedDifference struct {
	// Kind and Name are what was served; RequestID and Row which vector.
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	RequestID string `json:"request_id"`
	Row       int64  `json:"row"`
	// ReadTime is when, in microseconds.
	ReadTime int64  `json:"read_time"`
	Key      string `json:"key"`
	Feature  string `json:"feature"`
	Served   string `json:"served"`
	History  string `json:"history"`
	Reason   Reason `json:"reason"`
}

// Ahead is the reason that a served value holds events that its row's watermarks do not cover.
const Ahead Reason = "ahead"

// Why values are not compared.
const (
	uncheckedBehind     = "history is behind"
	uncheckedRetention  = "history was dropped"
	uncheckedDeleted    = "events were deleted"
	uncheckedDefinition = "no such definition"
	uncheckedInputs     = "what it is computed from was not compared"
)

// servedChunk is how many vectors are compared at a time.
const servedChunk = 1000

// Verify compares about sample vectors that were read in [from, to), in microseconds, chosen at
// random, or all when sample is 0.
func (v *ServedVerifier) Verify(ctx context.Context, from, to int64, sample int) (*Skew, error) {
	newest := v.Catalogs[len(v.Catalogs)-1]
	s, err := history.OpenSnapshot(ctx, v.Pool, newest.Namespace, nil)
	if err != nil {
		return nil, err
	}
	defer s.Close(ctx)
	deleted, err := s.LastDeletions(ctx)
	if err != nil {
		return nil, err
	}
	c := &servedComparison{
		ServedVerifier: v, deleted: deleted, comparisons: map[servedView]*comparison{}, computations: map[string]*computation{},
		skew: &Skew{Reasons: map[Reason]int{}, Unchecked: map[string]int{}},
	}
	source := served.Source(newest.Namespace, 0)
	var records []*served.Record
	seen := 0
	err = s.Scan(ctx, &source, from, to, func(_ featurestore.TopicID, e *featurestore.Event) error {
		seen++
		if sample > 0 && seen > sample { // each vector is kept as likely as every other
			at := rand.IntN(seen) //nolint:gosec // to choose a sample
			if at >= sample {
				return nil
			}
			var err error
			records[at], err = served.Decode(e)
			return err
		}
		r, err := served.Decode(e)
		if err != nil {
			return err
		}
		records = append(records, r)
		if sample > 0 || len(records) < servedChunk {
			return nil
		}
		err = c.compare(ctx, records)
		records = records[:0]
		return err
	})
	for len(records) > 0 && err == nil {
		n := min(servedChunk, len(records))
		err = c.compare(ctx, records[:n])
		records = records[n:]
	}
	if err != nil {
		return nil, fmt.Errorf("verifying the serving log: %w", err)
	}
	if c.skew.Points > 0 {
		c.skew.Share = float64(c.skew.Different) / float64(c.skew.Points)
	}
	return c.skew, nil
}
