package batching_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// model answers each row's value plus one, and takes perRun + rows × perRow of the bubble's time.
type model struct {
	perRun, perRow time.Duration
	poison         float32 // a row with it fails the run
	hang           bool    // until the context ends

	mu      sync.Mutex
	runs    []int     // rows of each
	first   []float32 // first value of each
	open    atomic.Int64
	running atomic.Int64
	most    atomic.Int64
}

type memory struct {
	model  *model
	tensor *tensor.Memory
}

func (m *model) batch(rows int) (batching.Batch, error) {
	info := tensor.Info{Name: "x", Type: tensor.Float32, Shape: []int64{-1, 1}}
	t, err := tensor.NewMemory([]tensor.Info{info}, []tensor.Info{info}, rows)
	m.open.Add(1)
	return &memory{model: m, tensor: t}, err
}

func (b *memory) Memory() *tensor.Memory { return b.tensor }

func (b *memory) Close() error {
	b.model.open.Add(-1)
	return b.tensor.Free()
}

func (b *memory) Run(ctx context.Context, rows int) error {
	m := b.model
	if now := m.running.Add(1); now > m.most.Load() {
		m.most.Store(now)
	}
	defer m.running.Add(-1)
	in := b.tensor.Float32(0)[:rows]
	m.mu.Lock()
	m.runs, m.first = append(m.runs, rows), append(m.first, in[0])
	m.mu.Unlock()
	if m.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(m.perRun + time.Duration(rows)*m.perRow) //nolint:forbidigo // the bubble's time
	if m.poison != 0 && slices.Contains(in, m.poison) {
		return errors.New("poisoned")
	}
	copy(b.tensor.Output(0, rows), b.tensor.Input(0, rows))
	b.tensor.Done(rows)
	for i := range b.tensor.Scores(0) {
		b.tensor.Scores(0)[i]++
	}
	return nil
}

// ask runs rows of one value and checks the scores.
func ask(ctx context.Context, q *batching.Queue, value float32, r batching.Request) error {
	b, err := q.Take()
	if err != nil {
		return err
	}
	defer q.Release(b)
	for i := range min(r.Rows, q.MaxRows()) {
		b.Memory().Float32(0)[i] = value
	}
	scores, _, err := q.Run(ctx, b, r)
	if err != nil {
		return err
	}
	if len(scores) != r.Rows {
		return fmt.Errorf("%d scores for %d rows", len(scores), r.Rows)
	}
	for _, score := range scores {
		if score != value+1 {
			return fmt.Errorf("score %v for %v", score, value)
		}
	}
	return nil
}

// queueOf makes a queue that is closed at the end, when all memory must be free.
func queueOf(t *testing.T, m *model, o batching.Options) *batching.Queue {
	t.Helper()
	q := batching.New(m.batch, o)
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if n := m.open.Load(); n != 0 {
			t.Errorf("%d batches were not freed", n)
		}
	})
	return q
}

// bubble runs a test in time of its own.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func TestAnIdleModelRunsAtOnceAndABusyOneTogether(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 10 * time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 1})
		start := time.Now()
		var all sync.WaitGroup
		for i := range 21 {
			all.Go(func() {
				if err := ask(t.Context(), q, float32(i+1), batching.Request{Rows: 2}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took != 20*time.Millisecond {
			t.Errorf("took %s, want two runs", took)
		}
		if !slices.Equal(m.runs, []int{2, 40}) {
			t.Errorf("runs of %v rows, want 2 and 40", m.runs)
		}
		s := q.Stats()
		if s.Runs != 2 || s.Rows != 42 || s.Requests != 21 || s.Refused+s.Shed != 0 || s.Waiting != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestInstancesRunSideBySide(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 10 * time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 3, MaxRows: 1})
		start := time.Now()
		var all sync.WaitGroup
		for range 9 {
			all.Go(func() {
				if err := ask(t.Context(), q, 1, batching.Request{Rows: 1}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took != 30*time.Millisecond || m.most.Load() != 3 {
			t.Errorf("nine runs took %s with %d side by side", took, m.most.Load())
		}
	})
}

// TestOrder holds the model with a first run while others arrive, and looks at the order in which they run.
func TestOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 10 * time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 1, MaxRows: 2})
		var all sync.WaitGroup
		send := func(value float32, rows, priority int, deadline time.Duration) {
			all.Go(func() {
				ctx := t.Context()
				if deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, deadline)
					defer cancel()
				}
				if err := ask(ctx, q, value, batching.Request{Rows: rows, Priority: priority}); err != nil {
					t.Error(value, err)
				}
			})
			synctest.Wait()
		}
		send(1, 2, 0, 0)
		send(2, 2, 0, 0)
		send(3, 2, 0, 900*time.Millisecond)
		send(4, 2, 0, 500*time.Millisecond)
		send(5, 2, 1, 0)
		send(6, 2, 0, 500*time.Millisecond)
		all.Wait()
		if want := []float32{1, 5, 4, 6, 3, 2}; !slices.Equal(m.first, want) {
			t.Errorf("order %v, want %v: priority, then deadline, then arrival", m.first, want)
		}
	})
}

func TestShapesDoNotShareRunsAndDoNotFlush(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 10 * time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 1})
		var all sync.WaitGroup
		for i := range 7 { // the first holds the model; then shapes 1, 0, 1, 0, 1, 0 arrive
			all.Go(func() {
				if err := ask(t.Context(), q, float32(i%2+1), batching.Request{Rows: 1, Shape: i % 2}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if !slices.Equal(m.runs, []int{1, 3, 3}) {
			t.Errorf("runs of %v rows, want 1, 3 and 3", m.runs)
		}
	})
}

func TestADelayFillsRunsAndNeverCostsADeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 1, MaxRows: 4, MaxDelay: 20 * time.Millisecond})
		start := time.Now()
		var all sync.WaitGroup
		send := func(deadline, want time.Duration) {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				if err := ask(ctx, q, 1, batching.Request{Rows: 1}); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != want {
					t.Errorf("answered after %s, want %s", took, want)
				}
			})
			synctest.Wait()
		}
		send(time.Second, 21*time.Millisecond) // the delay, and the run
		all.Wait()
		start = time.Now()
		send(8*time.Millisecond, 5*time.Millisecond) // 4 rows may take 4 ms, by what is known
		all.Wait()
		start = time.Now()
		for range 4 {
			send(time.Second, time.Millisecond) // as many as a run takes: no reason to wait
		}
		all.Wait()
	})
}

func TestSizesPadRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 1, Sizes: []int{1, 4, 16}})
		for _, rows := range []int{1, 2, 4, 5, 16} {
			if err := ask(t.Context(), q, 1, batching.Request{Rows: rows}); err != nil {
				t.Error(err)
			}
		}
		if !slices.Equal(m.runs, []int{1, 4, 4, 16, 16}) {
			t.Errorf("runs of %v rows", m.runs)
		}
		if err := ask(t.Context(), q, 1, batching.Request{Rows: 17}); err == nil {
			t.Error("17 rows were run where 16 are the most")
		}
	})
}

func TestOneBadRequestFailsAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: time.Millisecond, poison: 13}
		q := queueOf(t, m, batching.Options{Instances: 1})
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				err := ask(t.Context(), q, float32(i+10), batching.Request{Rows: 1 + i%3})
				if (err != nil) != (i == 3) {
					t.Errorf("request %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
	})
}

func TestCallersLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 100 * time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 1})
		gone := errors.New("gone")
		var all sync.WaitGroup
		send := func(value float32, leaves, answered time.Duration) {
			start := time.Now()
			all.Go(func() {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if leaves > 0 {
					defer time.AfterFunc(leaves, func() { cancel(gone) }).Stop()
				}
				err := ask(ctx, q, value, batching.Request{Rows: 1})
				if (leaves > 0) != errors.Is(err, gone) || leaves == 0 && err != nil {
					t.Errorf("request %v: %v", value, err)
				}
				if took := time.Since(start); took != answered {
					t.Errorf("request %v returned after %s, want %s", value, took, answered)
				}
			})
			synctest.Wait()
		}
		send(1, 0, 100*time.Millisecond)
		send(2, 50*time.Millisecond, 50*time.Millisecond)   // leaves while it waits
		send(3, 0, 200*time.Millisecond)                    // leads the next run
		send(4, 150*time.Millisecond, 150*time.Millisecond) // leaves while that runs
		send(5, 0, 200*time.Millisecond)
		all.Wait()
		if !slices.Equal(m.runs, []int{1, 3}) {
			t.Errorf("runs of %v rows", m.runs)
		}
	})
}

func TestAModelThatHangsHoldsNobodyBeyondItsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{hang: true}
		q := queueOf(t, m, batching.Options{Instances: 1})
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				limit := time.Duration(i+1) * 10 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				start := time.Now()
				if err := ask(ctx, q, 1, batching.Request{Rows: 1}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("request %d: %v", i, err)
				}
				if took := time.Since(start); took > limit {
					t.Errorf("request %d was held for %s, its deadline was %s", i, took, limit)
				}
			})
			synctest.Wait()
		}
		all.Wait()
	})
}

func TestCloseEndsWhatWaitsAndWaitsForWhatRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 10 * time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 1})
		running, waits := make(chan error, 1), make(chan error, 1)
		go func() { running <- ask(t.Context(), q, 1, batching.Request{Rows: 1}) }()
		synctest.Wait()
		go func() { waits <- ask(t.Context(), q, 1, batching.Request{Rows: 1}) }()
		synctest.Wait()
		start := time.Now()
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("closed after %s, the run takes 10 ms", took)
		}
		if err := <-running; err != nil {
			t.Error(err)
		}
		if err := <-waits; !errors.Is(err, batching.ErrClosed) {
			t.Errorf("what waited: %v", err)
		}
		if err := ask(t.Context(), q, 1, batching.Request{Rows: 1}); !errors.Is(err, batching.ErrClosed) {
			t.Errorf("what came later: %v", err)
		}
	})
}

// TestManyAtOnce is for the race detector: everything at once, in real time.
func TestManyAtOnce(t *testing.T) {
	m := &model{perRun: 50 * time.Microsecond, poison: 77}
	q := queueOf(t, m, batching.Options{Instances: 2, MaxRows: 32, QueueRows: 64})
	var all sync.WaitGroup
	var answered atomic.Int64
	for worker := range 32 {
		all.Go(func() {
			for i := range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(100+i*20)*time.Microsecond)
				err := ask(ctx, q, float32((worker*100+i)%100), batching.Request{Rows: 1 + i%5, Shape: i % 2, Priority: i % 3})
				cancel()
				if err == nil {
					answered.Add(1)
				} else if _, ok := errors.AsType[*batching.RefusedError](err); !ok && !errors.Is(err, context.DeadlineExceeded) && err.Error() != "poisoned" {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if answered.Load() == 0 {
		t.Error("nothing was answered")
	}
}
