package bench

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// TrainingOptions say how much to measure.
type TrainingOptions struct {
	// Events is how many events history holds; 0 means 10,000,000.
	Events int
	// Rows is how many rows the spine of latest features has; 0 means 200,000. That of
	// windows has a tenth.
	Rows int
	// Progress takes lines about what is being done.
	Progress io.Writer
}

// TrainingResult is what [Training] measured; rates are those of the median of three turns.
type TrainingResult struct {
	// Latest features: rows of the spine a second, beside the same as-of lookups in SQL.
	LatestRows  float64 `json:"latest_rows_per_s"`
	FloorRows   float64 `json:"floor_latest_rows_per_s"`
	LatestRatio float64 `json:"latest_ratio"`
	LatestWay   string  `json:"latest_way"`
	// The same with a spine that has many rows of each entity, and the way that was chosen.
	ManyRows float64 `json:"many_rows_per_s"`
	ManyWay  string  `json:"many_way"`
	// Windows: events a second, beside reading the same events.
	WindowEvents float64 `json:"window_events_per_s"`
	FloorEvents  float64 `json:"floor_window_events_per_s"`
	WindowRatio  float64 `json:"window_ratio"`
	// The smaller ratio.
	Ratio float64 `json:"ratio"`
	// The most memory that this process took, the spine of a million rows included.
	PeakRSS float64 `json:"peak_rss_mb"`

	// What was done.
	Events       int   `json:"events"`
	Rows         int   `json:"latest_rows"`
	WindowRows   int   `json:"window_rows"`
	WindowReads  int64 `json:"window_events"`
	LargestSpine int   `json:"largest_spine"`
}

// largestSpine is the spine with which memory is measured.
const largestSpine = 1_000_000

// Training measures training sets over a history in a real Postgres, beside their floors:
// the as-of lookups by LATERAL … LIMIT 1, and reading the same events without order and
// without folding. Ours and the floor take turns.
func Training(ctx context.Context, o TrainingOptions) (*TrainingResult, error) {
	if o.Events == 0 {
		o.Events = 10_000_000
	}
	if o.Rows == 0 {
		o.Rows = 200_000
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	fmt.Fprintf(o.Progress, "starting Postgres and writing %d events\n", o.Events)
	s, err := startTraining(ctx, o.Events)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	r := &TrainingResult{Events: o.Events, Rows: o.Rows, WindowRows: o.Rows / 10, LargestSpine: largestSpine}
	for _, phase := range []struct {
		says string
		do   func(context.Context, *TrainingResult) error
	}{
		{"looking up latest values", s.latest},
		{"the same for many rows of each entity", s.many},
		{"folding windows", s.windows},
		{"joining a spine of a million rows", s.large},
	} {
		fmt.Fprintln(o.Progress, phase.says)
		if err := phase.do(ctx, r); err != nil {
			return nil, err
		}
	}
	r.Ratio = min(r.LatestRatio, r.WindowRatio)
	return r, nil
}

func (s *trainingStack) latest(ctx context.Context, r *TrainingResult) error {
	spine := s.spine(r.Rows, trainingUsers)
	ours, floor, err := s.turns(ctx, "profile", spine, s.lookups, func(a *training.Answer) { r.LatestWay = a.Views[0].Way })
	if err != nil {
		return err
	}
	r.LatestRows, r.FloorRows = float64(r.Rows)/ours.Seconds(), float64(r.Rows)/floor.Seconds()
	r.LatestRatio = r.LatestRows / r.FloorRows
	return nil
}

func (s *trainingStack) many(ctx context.Context, r *TrainingResult) error {
	start := time.Now()
	a, err := s.join(ctx, "profile", s.spine(r.Rows, trainingUsers/1000))
	if err != nil {
		return err
	}
	r.ManyRows, r.ManyWay = float64(r.Rows)/time.Since(start).Seconds(), a.Views[0].Way
	return nil
}

func (s *trainingStack) windows(ctx context.Context, r *TrainingResult) error {
	spine := s.spine(r.WindowRows, trainingUsers/20)
	ours, floor, err := s.turns(ctx, "activity", spine, s.reads, func(a *training.Answer) { r.WindowReads = a.Views[0].Events })
	if err != nil {
		return err
	}
	r.WindowEvents, r.FloorEvents = float64(r.WindowReads)/ours.Seconds(), float64(r.WindowReads)/floor.Seconds()
	r.WindowRatio = r.WindowEvents / r.FloorEvents
	return nil
}

func (s *trainingStack) large(ctx context.Context, r *TrainingResult) error {
	if _, err := s.join(ctx, "profile", s.spine(largestSpine, trainingUsers)); err != nil {
		return err
	}
	var err error
	r.PeakRSS, err = peakRSS()
	return err
}

// turns lets ours and the floor take three turns and returns the median of each.
func (s *trainingStack) turns(ctx context.Context, view string, spine *training.Spine,
	floor func(context.Context, *training.Spine) error, see func(*training.Answer),
) (ours, floors time.Duration, err error) {
	var times [2][]time.Duration
	for range 3 {
		start := time.Now()
		if err := floor(ctx, spine); err != nil {
			return 0, 0, fmt.Errorf("the floor: %w", err)
		}
		times[1] = append(times[1], time.Since(start))
		start = time.Now()
		a, err := s.join(ctx, view, spine)
		if err != nil {
			return 0, 0, err
		}
		times[0] = append(times[0], time.Since(start))
		see(a)
	}
	for i := range times {
		slices.Sort(times[i])
	}
	return times[0][1], times[1][1], nil
}

// join joins all features of a view.
func (s *trainingStack) join(ctx context.Context, view string, spine *training.Spine) (*training.Answer, error) {
	refs, err := plan.Expand(s.catalog, []string{view + ".*"})
	if err != nil {
		return nil, err
	}
	p, err := plan.Compile(s.catalog, s.programs, refs)
	if err != nil {
		return nil, err
	}
	snapshot, err := history.OpenSnapshot(ctx, s.pool, s.catalog.Namespace, nil)
	if err != nil {
		return nil, err
	}
	defer snapshot.Close(ctx)
	return training.NewJoin(p, s.programs).Do(ctx, snapshot, spine, training.Options{})
}

// spine draws rows of some users at times of the last three weeks.
func (s *trainingStack) spine(rows, users int) *training.Spine {
	random := rand.New(rand.NewPCG(7, uint64(rows)))
	spine := &training.Spine{Times: make([]int64, rows), Keys: []training.Keys{{Parts: []plan.KeyColumn{{Ints: make([]int64, rows)}}}}}
	for i := range rows {
		spine.Times[i] = s.end - random.Int64N(21*24*time.Hour.Microseconds())
		spine.Keys[0].Parts[0].Ints[i] = 1 + random.Int64N(int64(users))
	}
	return spine
}

// Write writes the result for a person.
func (r *TrainingResult) Write(w io.Writer) {
	fmt.Fprintf(w, "Training sets over %d events in Postgres.\n\n", r.Events)
	table(w, [][]string{
		{"", "ours", "floor", "ratio"},
		{fmt.Sprintf("latest, rows/s (%d rows, by %s)", r.Rows, r.LatestWay), rate(r.LatestRows), rate(r.FloorRows), fmt.Sprintf("%.2f", r.LatestRatio)},
		{fmt.Sprintf("latest, many rows of each entity (by %s)", r.ManyWay), rate(r.ManyRows), "", fmt.Sprintf("%.2f", r.ManyRows/r.FloorRows)},
		{fmt.Sprintf("windows, events/s (%d rows, %d events)", r.WindowRows, r.WindowReads), rate(r.WindowEvents), rate(r.FloorEvents), fmt.Sprintf("%.2f", r.WindowRatio)},
	})
	fmt.Fprintf(w, "\nAt most %.0f MB of memory, with a spine of %d rows.\n", r.PeakRSS, r.LargestSpine)
}

func rate(perSecond float64) string { return fmt.Sprintf("%.0f", perSecond) }
