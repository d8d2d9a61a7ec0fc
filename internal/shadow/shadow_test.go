package shadow

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCompare(t *testing.T) {
	nan := float32(math.NaN())
	for name, test := range map[string]struct {
		served, shadow []float32
		want           Divergence
		err            error
	}{
		"same":     {[]float32{1, 2, 3}, []float32{1, 2, 3}, Divergence{0, 1, true}, nil},
		"scaled":   {[]float32{1, 2, 3}, []float32{2, 4, 6}, Divergence{2, 1, true}, nil},
		"reversed": {[]float32{1, 2, 3}, []float32{3, 2, 1}, Divergence{4.0 / 3, -1, false}, nil},
		// Ranks 0 1.5 1.5 3 and 0 1 2 3: 4.5 / √(4.5·5)
		"ties":     {[]float32{1, 2, 2, 3}, []float32{1, 2, 3, 4}, Divergence{0.5, 4.5 / math.Sqrt(22.5), true}, nil},
		"one":      {[]float32{1}, []float32{2}, Divergence{1, math.NaN(), true}, nil},
		"constant": {[]float32{1, 2}, []float32{5, 5}, Divergence{3.5, math.NaN(), false}, nil},
		"lengths":  {[]float32{1, 2}, []float32{5}, Divergence{}, errLengths},
		"none":     {nil, nil, Divergence{}, errLengths},
		"NaN":      {[]float32{1, nan}, []float32{5, 5}, Divergence{}, errNaN},
	} {
		got, err := Compare(test.served, test.shadow)
		same := math.Abs(got.RankCorrelation-test.want.RankCorrelation) < 1e-12 || math.IsNaN(got.RankCorrelation) && math.IsNaN(test.want.RankCorrelation)
		if !errors.Is(err, test.err) || !same || math.Abs(got.MeanAbsolute-test.want.MeanAbsolute) > 1e-12 || got.SameBest != test.want.SameBest {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, test.want, test.err)
		}
	}
}

// TestNothingWaitsForTheShadow: while a run hangs jobs are taken at once as long as there is room and dropped after that, the run
// ends at its deadline, each job is counted once, and Close does not wait for those that hang.
func TestNothingWaitsForTheShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Start(t.Context(), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		hang := func(ctx context.Context) ([]float32, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		job := Job{Model: "m", Version: 3, Served: []float32{1, 2}, Run: hang}
		count := func(outcome string) float64 { return testutil.ToFloat64(p.requests.WithLabelValues("m", "3", outcome)) }
		began := time.Now()
		p.Put(job)
		synctest.Wait() // it hangs
		for range queueJobs + 5 {
			p.Put(job)
		}
		large := job
		large.Size = MaxRequest + 1
		p.Put(large)
		if got := count(dropped); got != 6 || !time.Now().Equal(began) {
			t.Errorf("%v jobs were dropped, want 6; it took %s", got, time.Since(began))
		}
		<-time.After(deadline + deadline/2)
		if got := count(failed); got != 1 {
			t.Errorf("%v runs ended at their deadline, want 1", got)
		}
		p.Close()
		if all := count(dropped) + count(failed); all != queueJobs+7 || time.Since(began) > 2*deadline {
			t.Errorf("%v jobs are counted, want %d; it took %s", all, queueJobs+7, time.Since(began))
		}
		(*Pool)(nil).Put(job)
	})
}

// TestDivergenceIsMeasured looks at the metrics.
func TestDivergenceIsMeasured(t *testing.T) {
	p := Start(t.Context(), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	for _, scores := range [][]float32{{1, 2, 3}, {3, 2, 1}} {
		p.Put(Job{Model: "m", Version: 3, Served: []float32{1, 2, 3}, Run: func(context.Context) ([]float32, error) { return scores, nil }})
	}
	p.Put(Job{Run: func(context.Context) ([]float32, error) { close(done); return nil, errors.New("it failed") }})
	<-done
	p.Close()
	if got := testutil.ToFloat64(p.requests.WithLabelValues("m", "3", compared)); got != 2 {
		t.Errorf("%v are compared, want 2", got)
	}
	if got := testutil.ToFloat64(p.sameBest.WithLabelValues("m", "3")); got != 1 {
		t.Errorf("%v have the same best, want 1", got)
	}
	if testutil.CollectAndCount(p.difference) != 1 || testutil.CollectAndCount(p.rankCorrelation) != 1 {
		t.Error("a divergence is not measured")
	}
}
