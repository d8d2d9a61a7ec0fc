package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/internal/app"
)

// BatchOptions configure [Batch].
type BatchOptions struct {
	// Duration of each phase; 0 means 5 s.
	Duration time.Duration
	// Library is ONNX Runtime's shared library; empty for the usual places.
	Library string
	// Progress takes lines about what is being done.
	Progress io.Writer
}

// BatchResult is what [Batch] measures. Rates are rows a second, times microseconds unless they say otherwise.
type BatchResult struct {
	Unbatched float64 `json:"unbatched_c64_rows_per_s"`
	Batched   float64 `json:"batched_c64_rows_per_s"`
	Speedup   float64 `json:"speedup_c64"`
	RowsRun   float64 `json:"rows_per_run_c64"`

	UnbatchedP50 float64 `json:"unbatched_p50_c1_us"`
	BatchedP50   float64 `json:"batched_p50_c1_us"`
	RatioP50     float64 `json:"ratio_p50_c1"`

	Peak       float64 `json:"one_instance_c64_rows_per_s"`
	Deadline   float64 `json:"overload_deadline_ms"`
	Offered    float64 `json:"overload_offered_per_s"`
	Goodput    float64 `json:"overload_goodput_per_s"`
	Ratio      float64 `json:"goodput_ratio"`
	AnswerP99  float64 `json:"overload_answer_p99_ms"`
	Refusals   int     `json:"refusals"`
	RefusalP99 float64 `json:"refusal_p99_ms"`
	Late       int     `json:"late"`

	// As many callers as can wait for their deadline, at a bare channel with the same runs behind it.
	FloorRate  float64 `json:"overload_floor_per_s"`
	FloorRatio float64 `json:"goodput_floor_ratio"`
}

// batchWidths are the layers of the model of [Batch].
var batchWidths = []int{64, 1024, 1024, 1}

// overload is how many times the peak rate is offered, and overloadDeadline how long each request may take.
const (
	overload         = 3
	overloadDeadline = 20 * time.Millisecond
)

// batchBench is a model with and without a queue.
type batchBench struct {
	session *onnx.Session
	queue   *batching.Queue
	direct  chan *onnx.Batch // one for each processor, as the queue has instances
}

// Batch measures dynamic batching at the runtime's own door, with one-row requests to a 64→1024→1024→1 perceptron: rows a second
// at 64 callers and the time of one caller, beside the same runs without a queue; then what is answered in time when
// three times as much is asked for as can be answered.
func Batch(ctx context.Context, o BatchOptions) (r *BatchResult, err error) {
	err = app.WithBallast(func() (err error) { r, err = batch(ctx, o); return err }) // as in infer
	return r, err
}

func batch(ctx context.Context, o BatchOptions) (_ *BatchResult, err error) {
	if o.Duration == 0 {
		o.Duration = 5 * time.Second
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	library, err := onnx.FindLibrary(o.Library)
	if err != nil {
		return nil, err
	}
	rt, err := onnx.Open(library)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	b, err := newBatchBench(rt)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r := &BatchResult{}
	things := []timed{{"unbatched", b.runDirect}, {"batched", b.runQueued}}
	fmt.Fprintf(o.Progress, "one caller, with and without the queue in turn, for %s\n", o.Duration)
	times, err := interleave(ctx, things, 50, o.Duration)
	if err != nil {
		return nil, err
	}
	r.UnbatchedP50, r.BatchedP50 = percentile(times[0], .5), percentile(times[1], .5)
	r.RatioP50 = r.BatchedP50 / r.UnbatchedP50
	fmt.Fprintf(o.Progress, "64 callers, with and without it in turn, for %s\n", 2*o.Duration)
	before := b.queue.Stats()
	rates, err := throughputs(ctx, things, 64, o.Duration)
	if err != nil {
		return nil, err
	}
	after := b.queue.Stats()
	r.Unbatched, r.Batched, r.Speedup = rates[0], rates[1], rates[1]/rates[0]
	r.RowsRun = float64(after.Rows-before.Rows) / float64(after.Runs-before.Runs)
	fmt.Fprintf(o.Progress, "one instance: 64 callers, %d times as many requests, each of which may take %s, and their floor in turn, for %s\n",
		overload, overloadDeadline, 3*o.Duration)
	return r, b.overload(ctx, r, o.Duration)
}

func newBatchBench(rt *onnx.Runtime) (*batchBench, error) {
	session, err := rt.LoadBytes("perceptron", onnxtest.MLP(batchWidths, 1), onnx.Options{})
	if err != nil {
		return nil, err
	}
	b := &batchBench{session: session, direct: make(chan *onnx.Batch, 64)}
	b.queue = newQueue(session, 0)
	for range cap(b.direct) {
		batch, err := session.NewBatch(1)
		if err != nil {
			return nil, errors.Join(err, b.close())
		}
		b.direct <- batch
	}
	return b, nil
}

func newQueue(session *onnx.Session, instances int) *batching.Queue {
	return batching.New(func(rows int) (batching.Batch, error) { return session.NewBatch(rows) }, batching.Options{Instances: instances})
}

func (b *batchBench) close() error {
	var err error
	for len(b.direct) > 0 {
		err = errors.Join(err, (<-b.direct).Close())
	}
	return errors.Join(err, b.queue.Close(), b.session.Close())
}

func (b *batchBench) runDirect(ctx context.Context) error {
	batch := <-b.direct
	defer func() { b.direct <- batch }()
	batch.Memory().Float32(0)[0] = .5
	return batch.Run(ctx, 1)
}

func (b *batchBench) runQueued(ctx context.Context) error { return b.run(ctx, nil) }

func (b *batchBench) run(ctx context.Context, admission *batching.Admission) error {
	batch, err := b.queue.Take()
	if err != nil {
		return err
	}
	defer b.queue.Release(batch)
	batch.Memory().Float32(0)[0] = .5
	var room [1]float32
	_, _, err = b.queue.Run(ctx, batch, batching.Request{Rows: 1, Admission: admission, Scores: room[:0]})
	return err
}

// overload counts what is answered in time when more is offered than can be answered, in turn with what 64 callers get and with the floor. The
// queue has one instance, so that a processor is left for those who ask.
func (b *batchBench) overload(ctx context.Context, r *BatchResult, d time.Duration) (err error) {
	const rounds = 5
	b = &batchBench{session: b.session, queue: newQueue(b.session, 1)}
	defer func() { err = errors.Join(err, b.queue.Close()) }()
	var all caller
	for range rounds {
		peak, err := throughput(ctx, timed{"batched", b.runQueued}, 64, d/rounds)
		if err != nil {
			return err
		}
		if err := b.offer(ctx, peak, d/rounds, &all); err != nil {
			return err
		}
		floor, err := overloadFloor(ctx, b.session, int(peak*overloadDeadline.Seconds()), d/rounds)
		if err != nil {
			return err
		}
		r.Peak, r.FloorRate = r.Peak+peak/rounds, r.FloorRate+floor/rounds
	}
	r.Deadline, r.Refusals, r.Late = float64(overloadDeadline.Milliseconds()), len(all.refusals), all.late
	r.Offered, r.Goodput = float64(len(all.answers)+r.Refusals+r.Late)/d.Seconds(), float64(len(all.answers))/d.Seconds()
	r.Ratio, r.FloorRatio = r.Goodput/r.Peak, r.Goodput/r.FloorRate
	r.AnswerP99, r.RefusalP99 = percentile(all.answers, .99)/1e3, percentile(all.refusals, .99)/1e3
	return nil
}

// offer offers so many times the peak, at a fixed rate, whether requests are answered or not, and adds what became of them.
func (b *batchBench) offer(ctx context.Context, peak float64, d time.Duration, all *caller) error {
	callers := make([]caller, int(2*peak*overloadDeadline.Seconds())) // twice those who can be waiting
	arrivals := make(chan arrival, len(callers))
	group, ctx := errgroup.WithContext(ctx)
	for i := range callers {
		group.Go(func() error {
			for arrived := range arrivals {
				if err := callers[i].ask(ctx, b, arrived); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var door caller
	group.Go(func() error {
		defer close(arrivals)
		return door.arrive(ctx, b, overload*peak, d, arrivals)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for i := range callers {
		all.add(&callers[i])
	}
	all.add(&door)
	return nil
}

// caller is one of those who ask at once, and what became of it.
type caller struct {
	answers, refusals []time.Duration
	late              int
}

func (c *caller) add(other *caller) {
	c.answers, c.refusals = append(c.answers, other.answers...), append(c.refusals, other.refusals...)
	c.late += other.late
}

// arrival is a request that was let in.
type arrival struct {
	at        time.Time
	admission batching.Admission
}

// arrive stands at the door: requests come at a fixed rate, and those that are let in are asked by others.
func (c *caller) arrive(ctx context.Context, b *batchBench, rate float64, d time.Duration, arrivals chan<- arrival) error {
	start, came := time.Now(), 0
	for elapsed := time.Duration(0); elapsed < d; elapsed = time.Since(start) {
		for due := int(rate * elapsed.Seconds()); came < due; came++ {
			arrived := time.Now()
			admission, err := b.queue.Admit(arrived.Add(overloadDeadline), 1, 0)
			if _, refused := errors.AsType[*batching.RefusedError](err); refused {
				c.refusals = append(c.refusals, time.Since(arrived))
				continue
			}
			if err != nil {
				return err
			}
			select {
			case arrivals <- arrival{arrived, admission}:
			default:
				admission.Withdraw()
				c.late++ // all callers wait
			}
		}
		if !sleep(ctx, 200*time.Microsecond) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// ask asks for a run for a request that was let in.
func (c *caller) ask(ctx context.Context, b *batchBench, a arrival) error {
	ctx, cancel := context.WithDeadline(ctx, a.at.Add(overloadDeadline))
	defer cancel()
	err := b.run(ctx, &a.admission)
	took := time.Since(a.at)
	_, refused := errors.AsType[*batching.RefusedError](err)
	switch {
	case err == nil && took <= overloadDeadline:
		c.answers = append(c.answers, took)
	case err == nil, errors.Is(err, context.DeadlineExceeded):
		c.late++
	case refused:
		c.refusals = append(c.refusals, took)
	default:
		return err
	}
	return nil
}

// Write prints the result for a person.
func (r *BatchResult) Write(w io.Writer) {
	rows := func(v float64) string { return fmt.Sprintf("%.0f rows/s", v) }
	fmt.Fprintf(w, "a perceptron of %v, one row a request, at the door of the runtime\n\n", batchWidths)
	table(w, [][]string{
		{"", "without", "batched", "ratio"},
		{"64 callers", rows(r.Unbatched), rows(r.Batched), fmt.Sprintf("%.1f, %.0f rows a run", r.Speedup, r.RowsRun)},
		{"one caller, p50", fmt.Sprintf("%.1f µs", r.UnbatchedP50), fmt.Sprintf("%.1f µs", r.BatchedP50), fmt.Sprintf("%.3f", r.RatioP50)},
	})
	fmt.Fprintf(w, "\none instance, whose peak is %.0f rows/s; %.0f requests a second offered, %.0f ms each:\n", r.Peak, r.Offered, r.Deadline)
	table(w, [][]string{
		{"answered in time", rows(r.Goodput), fmt.Sprintf("%.2f of the peak", r.Ratio), fmt.Sprintf("p99 %.1f ms", r.AnswerP99)},
		{"  without a queue", rows(r.FloorRate), fmt.Sprintf("%.2f of the peak", r.FloorRate/r.Peak), fmt.Sprintf("as many callers, a channel, none refused; ours is %.2f of it", r.FloorRatio)},
		{"refused", strconv.Itoa(r.Refusals), "", fmt.Sprintf("told in p99 %.2f ms", r.RefusalP99)},
		{"too late", strconv.Itoa(r.Late)},
	})
}
