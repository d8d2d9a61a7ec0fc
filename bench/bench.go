// Package bench measures Onehop beside its floor: what the parts that it cannot do
// without would take on their own, measured in the same run and interleaved with it, so
// that a noisy machine spoils both alike. onehop bench runs it.
package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
)

// percentile is the p-th percentile, p in [0, 1], of durations, in microseconds.
func percentile(times []time.Duration, p float64) float64 {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Clone(times)
	slices.Sort(sorted)
	at := int(p * float64(len(sorted)-1))
	return float64(sorted[at].Nanoseconds()) / 1e3
}

// timed is one thing to measure.
type timed struct {
	name string
	do   func(context.Context) error
}

// interleave does all things in turn for a while and returns the times of each.
func interleave(ctx context.Context, things []timed, warmup int, d time.Duration) ([][]time.Duration, error) {
	times := make([][]time.Duration, len(things))
	for range warmup {
		for _, thing := range things {
			if err := thing.do(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", thing.name, err)
			}
		}
	}
	for start := time.Now(); time.Since(start) < d; {
		for i, thing := range things {
			before := time.Now()
			if err := thing.do(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", thing.name, err)
			}
			times[i] = append(times[i], time.Since(before))
		}
	}
	return times, nil
}

// throughput does a thing from several goroutines for a while and returns how often a
// second it was done.
func throughput(ctx context.Context, thing timed, concurrency int, d time.Duration) (float64, error) {
	group, ctx := errgroup.WithContext(ctx)
	counts := make([]int, concurrency)
	start := time.Now()
	for i := range concurrency {
		group.Go(func() error {
			for time.Since(start) < d {
				if err := thing.do(ctx); err != nil {
					return fmt.Errorf("%s: %w", thing.name, err)
				}
				counts[i]++
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(start).Seconds(), nil
}

// throughputs does each of several things from several goroutines, in turn, until each had its time, and returns how often a second each was done:
// what the machine's neighbours take meanwhile they take from all.
func throughputs(ctx context.Context, things []timed, concurrency int, each time.Duration) ([]float64, error) {
	const rounds = 10
	rates := make([]float64, len(things))
	for range rounds {
		for i, thing := range things {
			rate, err := throughput(ctx, thing, concurrency, each/rounds)
			if err != nil {
				return nil, err
			}
			rates[i] += rate / rounds
		}
	}
	return rates, nil
}

// paced does a thing at a fixed rate, whether the calls before have ended or not, as long as callers are left, and returns the time of
// each.
func paced(ctx context.Context, thing timed, rate float64, d time.Duration) ([]time.Duration, error) {
	const callers = 64
	group, ctx := errgroup.WithContext(ctx)
	times := make([][]time.Duration, callers)
	var tickets atomic.Int64
	start := time.Now()
	for i := range callers {
		group.Go(func() error {
			for {
				due := start.Add(time.Duration(float64(tickets.Add(1)) / rate * float64(time.Second)))
				if due.Sub(start) > d {
					return nil
				}
				if left := time.Until(due); left > 0 && !sleep(ctx, left) {
					return context.Cause(ctx)
				}
				before := time.Now()
				if err := thing.do(ctx); err != nil {
					return fmt.Errorf("%s: %w", thing.name, err)
				}
				times[i] = append(times[i], time.Since(before))
			}
		})
	}
	err := group.Wait()
	return slices.Concat(times...), err
}

// sleep waits, and is false when the context ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// table prints rows of cells, the first one a heading.
func table(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for _, cell := range row {
			fmt.Fprintf(t, "%s\t", cell)
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
}
