package bench

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/onnx"
)

// bareAsk is a request at a bare channel.
type bareAsk struct {
	batch *onnx.Batch
	score chan float32
}

// overloadFloor is how many rows a second so many callers get who each wait with a deadline that never comes, at a channel behind which one
// goroutine runs the model for all that wait, up to as many as a queue would. Nobody is refused, ordered, counted or told how long it
// takes: what is missing to the peak is what a machine takes for waking that many.
func overloadFloor(ctx context.Context, session *onnx.Session, callers int, d time.Duration) (rate float64, err error) {
	batches := make([]*onnx.Batch, 1+callers)
	defer func() {
		for _, b := range batches {
			if b != nil {
				err = errors.Join(err, b.Close())
			}
		}
	}()
	for i := range batches {
		if batches[i], err = session.NewBatch(batching.DefaultMaxRows); err != nil { // as callers of a queue have
			return 0, err
		}
	}
	asks := make(chan bareAsk, callers)
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for _, batch := range batches[1:] {
		group.Go(func() error { return askBare(ctx, batch, asks, start.Add(d)) })
	}
	served := 0
	done := make(chan error, 1)
	go func() {
		var err error
		served, err = serveBare(ctx, batches[0], asks)
		done <- err
	}()
	err = group.Wait()
	took := time.Since(start)
	close(asks)
	err = errors.Join(err, <-done)
	return float64(served) / took.Seconds(), err
}

// askBare asks again and again.
func askBare(ctx context.Context, batch *onnx.Batch, asks chan<- bareAsk, until time.Time) (err error) {
	a := bareAsk{batch, make(chan float32, 1)}
	for time.Now().Before(until) && err == nil {
		err = a.ask(ctx, asks)
	}
	return err
}

// ask asks once and waits for the score.
func (a bareAsk) ask(ctx context.Context, asks chan<- bareAsk) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	a.batch.Memory().Float32(0)[0] = .5
	asks <- a
	select {
	case <-a.score:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// serveBare runs the model for those who ask, until nobody asks any more.
func serveBare(ctx context.Context, batch *onnx.Batch, asks <-chan bareAsk) (served int, err error) {
	var together []bareAsk
	for first := range asks {
		together = append(together[:0], first)
		for len(together) < batching.DefaultMaxRows && len(asks) > 0 {
			together = append(together, <-asks)
		}
		for i, a := range together {
			batch.Memory().Copy(i, a.batch.Memory(), 0, 1)
		}
		err = errors.Join(err, batch.Run(ctx, len(together)))
		for i, a := range together {
			a.score <- batch.Memory().Scores(0)[i]
		}
		served += len(together)
	}
	return served, err
}
