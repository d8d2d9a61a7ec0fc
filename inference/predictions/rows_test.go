package predictions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// model scores a row by a sum over its two inputs, numbers and texts, and takes a while of the bubble's time.
type model struct {
	takes time.Duration
	rows  atomic.Int64 // that were run
	runs  atomic.Int64
}

type memory struct {
	model  *model
	memory *tensor.Memory
}

func (m *model) batch(rows int) (batching.Batch, error) {
	inputs := []tensor.Info{{Name: "x", Type: tensor.Float32, Shape: []int64{-1, 2}}, {Name: "t", Type: tensor.String, Shape: []int64{-1, 2}}}
	t, err := tensor.NewMemory(inputs, []tensor.Info{{Name: "y", Type: tensor.Float32, Shape: []int64{-1}}}, rows)
	return &memory{m, t}, err
}

func (b *memory) Memory() *tensor.Memory { return b.memory }

func (b *memory) Close() error { return b.memory.Free() }

func (b *memory) Run(ctx context.Context, rows int) error {
	b.model.runs.Add(1)
	b.model.rows.Add(int64(rows))
	if b.model.takes > 0 {
		select {
		case <-time.After(b.model.takes):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	b.memory.Done(rows)
	for row := range rows {
		b.memory.Scores(0)[row] = score(b.memory.Float32(0)[2*row:], b.memory.Strings(1)[2*row:])
	}
	return nil
}

func score(x []float32, texts []string) float32 {
	return 100*x[0] + 10*x[1] + float32(len(texts[0])) - float32(len(texts[1]))/10
}

// row is one row of the model's inputs.
type row struct {
	x, y float32
	s, t string
}

func (r row) score() float32 { return score([]float32{r.x, r.y}, []string{r.s, r.t}) }

// harness is a cache before a model.
type harness struct {
	model *model
	queue *batching.Queue
	rows  *Rows
}

func newHarness(m *model, k Kind, now func() time.Time) *harness {
	h := &harness{model: m, queue: batching.New(m.batch, batching.Options{Instances: 4})}
	h.rows = newRows(k, h.queue, NewGate(min(k.TTL, longestWindow), now, nil), nil)
	return h
}

func (h *harness) close(t *testing.T) {
	t.Helper()
	h.rows.Close()
	if err := h.queue.Close(); err != nil {
		t.Error(err)
	}
}

// ask asks for the scores of rows.
func (h *harness) ask(ctx context.Context, rows ...row) ([]float32, error) {
	b, err := h.queue.Take()
	if err != nil {
		return nil, err
	}
	defer h.queue.Release(b)
	for i, r := range rows {
		copy(b.Memory().Float32(0)[2*i:], []float32{r.x, r.y})
		copy(b.Memory().Strings(1)[2*i:], []string{r.s, r.t})
	}
	scores, _, err := h.rows.Run(ctx, b, batching.Request{Rows: len(rows), Scores: []float32{-1}})
	if err != nil {
		return nil, err
	}
	if scores[0] != -1 {
		return nil, errors.New("the scores are not appended")
	}
	return scores[1:], nil
}

// want asks, and checks all scores, and how many rows were run for them.
func (h *harness) want(t *testing.T, run int64, rows ...row) {
	t.Helper()
	before := h.model.rows.Load()
	scores, err := h.ask(t.Context(), rows...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if scores[i] != r.score() {
			t.Errorf("row %d scores %v, want %v", i, scores[i], r.score())
		}
	}
	if got := h.model.rows.Load() - before; got != run {
		t.Errorf("%d rows were run, want %d", got, run)
	}
}

// TestOnlyMissingRowsAreRun also of rows that differ in one input, or only in where one text ends.
func TestOnlyMissingRowsAreRun(t *testing.T) {
	h := newHarness(&model{}, Kind{TTL: time.Hour}, time.Now)
	defer h.close(t)
	a, b, c := row{1, 2, "ab", "c"}, row{1, 3, "ab", "c"}, row{1, 2, "a", "bc"}
	h.want(t, 2, a, b)
	h.want(t, 0, b, a)
	h.want(t, 1, b, c, a)
	h.want(t, 0, c, c, b)
	d, e := row{5, 5, "", ""}, row{6, 6, "", ""}
	h.want(t, 2, a, d, d, e, c, d) // the same row within one request is run once
	h.rows.cache.CleanUp()         // so that all are counted
	if s := h.rows.Stats(); s.Hits != 11 || s.Misses != 5 || !s.On || s.Bytes < 5*entryOverhead {
		t.Errorf("%+v", s)
	}
}

func TestScoresExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(&model{}, Kind{TTL: time.Minute}, time.Now)
		defer h.close(t)
		h.want(t, 1, row{x: 1})
		<-time.After(59 * time.Second)
		h.want(t, 0, row{x: 1})
		<-time.After(2 * time.Second)
		h.want(t, 1, row{x: 1})
	})
}

// TestRowsUnderWayAreWaitedFor: eight requests that overlap run each row once.
func TestRowsUnderWayAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(&model{takes: time.Second}, Kind{TTL: time.Hour}, time.Now)
		defer h.close(t)
		done := make(chan error)
		for i := range 8 {
			go func() {
				rows := []row{{x: 7}, {x: float32(i % 2)}, {y: 3}}
				scores, err := h.ask(t.Context(), rows...)
				for j := range scores {
					if scores[j] != rows[j].score() {
						err = fmt.Errorf("row %v scores %v", rows[j], scores[j])
					}
				}
				done <- err
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := h.model.rows.Load(); n != 4 {
			t.Errorf("%d rows were run, want 4", n)
		}
	})
}

// TestALeaderWhoGoesAway fails nobody else, and leaves nothing behind.
func TestALeaderWhoGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(&model{takes: time.Second}, Kind{TTL: time.Hour}, time.Now)
		defer h.close(t)
		ctx, leave := context.WithCancel(t.Context())
		left, stayed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := h.ask(ctx, row{x: 1}, row{x: 2})
			left <- err
		}()
		synctest.Wait()
		go func() {
			rows := []row{{y: 9}, {x: 2}, {x: 1}}
			scores, err := h.ask(t.Context(), rows...)
			if err == nil && !slices.Equal(scores, []float32{rows[0].score(), rows[1].score(), rows[2].score()}) {
				err = fmt.Errorf("scores %v", scores)
			}
			stayed <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := <-stayed; err != nil {
			t.Error(err)
		}
		h.want(t, 2, row{x: 1}, row{x: 2})
		h.want(t, 0, row{x: 1}, row{x: 2})
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		go func() {
			_, err := h.ask(t.Context(), row{x: 5})
			stayed <- err
		}()
		synctest.Wait()
		start := time.Now()
		if _, err := h.ask(short, row{x: 5}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 200*time.Millisecond {
			t.Errorf("after %s: %v, where the run of another takes longer than the caller has", time.Since(start), err)
		}
		if err := <-stayed; err != nil {
			t.Error(err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	const most = 1 << 20
	h := newHarness(&model{}, Kind{TTL: time.Hour, Bytes: most}, time.Now)
	defer h.close(t)
	text := string(make([]byte, 1000))
	for i := range 3000 {
		if _, err := h.ask(t.Context(), row{x: float32(i), s: text}); err != nil {
			t.Fatal(err)
		}
	}
	h.rows.cache.CleanUp()
	if n := h.rows.Stats().Bytes; n > most || n < most/2 {
		t.Errorf("%d bytes are kept, of at most %d", n, most)
	}
}

// TestACacheThatDoesNotPayTurnsOff, and on again when the same rows come.
func TestACacheThatDoesNotPayTurnsOff(t *testing.T) {
	now := time.Unix(1e9, 0)
	h := newHarness(&model{}, Kind{TTL: time.Hour}, func() time.Time { return now })
	defer h.close(t)
	rows := make([]row, 200)
	ask := func(calls int, next func() float32) {
		t.Helper()
		for range calls {
			for i := range rows {
				rows[i] = row{x: next()}
			}
			if _, err := h.ask(t.Context(), rows...); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Second)
		}
	}
	fresh := float32(0)
	never := func() float32 { fresh++; return fresh }
	ask(30, never)
	s := h.rows.Stats()
	if s.On || s.Hits != 0 {
		t.Fatalf("nothing was hit, and the cache is on: %+v", s)
	}
	ask(1, never)
	if off := h.rows.Stats(); off.Bypassed-s.Bypassed != 200 {
		t.Errorf("%d rows bypassed a cache that is off, want 200", off.Bypassed-s.Bypassed)
	}
	h.model.takes = 5 * time.Millisecond // each row is worth waiting for
	at := 0
	ask(200, func() float32 { at++; return float32(at % 2000) })
	if s := h.rows.Stats(); !s.On || s.Hits == 0 {
		t.Errorf("what is asked for comes again and again, and the cache is off: %+v", s)
	}
}
