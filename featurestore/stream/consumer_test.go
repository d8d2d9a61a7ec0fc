package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kotel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// recorder is a worker that notes the offsets it was given, and fails when told.
type recorder struct {
	mu     sync.Mutex
	next   int64
	seen   []int64
	opened int
	fail   func(batch Batch) error
	open   func() error
	all    chan struct{}
	want   int
	spans  *tracetest.SpanRecorder

	// What the topic holds, when it is not ratings in JSON.
	schemas *Schemas
	source  *featurestore.Source
	value   func(i int) string
}

func (r *recorder) Open(context.Context, map[int32]ingest.Offsets) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened++
	if r.open != nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	return r.next, nil
}

func (r *recorder) Process(_ context.Context, batch Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		if err := r.fail(batch); err != nil {
			return err
		}
	}
	if batch.From != r.next {
		return fmt.Errorf("a batch from %d where %d is next", batch.From, r.next)
	}
	for _, e := range batch.Events {
		r.seen = append(r.seen, e.Offset)
	}
	r.next = batch.To
	if len(r.seen)+len(batch.Rejected) > 0 && int(r.next) == r.want {
		close(r.all)
		r.want = -1
	}
	return nil
}

func (r *recorder) Heartbeat(context.Context) error { return nil }

// traceparent is what a producer that traces writes into its records.
const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// consume runs a consumer over a topic with n records until the worker has them all or
// the consumer fails.
func consume(t *testing.T, n int, r *recorder) error {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "ratings"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("ratings"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	now := time.Now()
	for i := range n {
		value := fmt.Sprintf(`{"user":"u","n":%d,"at":%d}`, i, now.UnixMilli())
		if r.value != nil {
			value = r.value(i)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{
			Value: []byte(value), Timestamp: now, Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte(traceparent)}},
		}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	r.all, r.want = make(chan struct{}), n
	var tracer trace.Tracer
	options := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}
	if r.spans != nil {
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
		tracer = provider.Tracer("test")
		kafka := kotel.NewTracer(kotel.TracerProvider(provider), kotel.TracerPropagator(propagation.TraceContext{}))
		options = append(options, kgo.WithHooks(kotel.NewKotel(kotel.WithTracer(kafka)).Hooks()...))
	}
	source := r.source
	if source == nil {
		source = testSource()
	}
	consumer, err := NewConsumer(ConsumerConfig{
		Group: "g", Options: options, Tracer: tracer, MaxRecords: 7, Heartbeat: 50 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler), Schemas: r.schemas,
		Topics: []Topic{{
			Name: "ratings", Source: "ratings", Versions: []Version{{Source: source}},
			NewWorker: func(ingest.PartitionID) Worker { return r },
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx) }()
	select {
	case <-r.all:
		stop()
		return <-done
	case err := <-done:
		return errors.Join(err, ctx.Err())
	}
}

func checkSeen(t *testing.T, r *recorder, n int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		if i >= len(r.seen) || r.seen[i] != int64(i) {
			t.Fatalf("offsets seen: %v, want 0 to %d in order", r.seen, n-1)
		}
	}
}

func TestRecordsComeInOrder(t *testing.T) {
	r := &recorder{}
	if err := consume(t, 50, r); err != nil {
		t.Fatal(err)
	}
	checkSeen(t, r, 50)
}

// TestFailuresAreReadAgain fails batches and openings: the worker is opened again, says
// where it stands, and nothing is skipped.
func TestFailuresAreReadAgain(t *testing.T) {
	failures, openings := 3, 2
	r := &recorder{}
	r.fail = func(batch Batch) error {
		if batch.From >= 14 && failures > 0 {
			failures--
			r.next = 5 // the store has lost what was there
			r.seen = r.seen[:5]
			return ingest.ErrLost
		}
		return nil
	}
	r.open = func() error {
		if openings > 0 {
			openings--
			return errors.New("the store is away")
		}
		return nil
	}
	if err := consume(t, 40, r); err != nil {
		t.Fatal(err)
	}
	checkSeen(t, r, 40)
	if r.opened < 6 {
		t.Errorf("opened %d times, want one, two that failed and three after losses", r.opened)
	}
}

// TestGoneStopsTheConsumer wants no silent resumption when events are gone.
func TestGoneStopsTheConsumer(t *testing.T) {
	r := &recorder{open: func() error { return fmt.Errorf("offset 3 is needed: %w", ingest.ErrGone) }}
	if err := consume(t, 5, r); !errors.Is(err, ingest.ErrGone) {
		t.Fatalf("the consumer ended with %v", err)
	}
	r = &recorder{fail: func(Batch) error { return ingest.ErrGone }}
	if err := consume(t, 5, r); !errors.Is(err, ingest.ErrGone) {
		t.Fatalf("the consumer ended with %v", err)
	}
}

// TestASuccessorAheadIsNoLoss lets a worker find that another owner is further than the log
// was when the consumer asked: nothing is lost if the log has it now, and everything stops
// if it has not.
func TestASuccessorAheadIsNoLoss(t *testing.T) {
	tries := 2
	r := &recorder{}
	r.open = func() error {
		if tries--; tries >= 0 {
			return fmt.Errorf("bucket 3: %w", &ingest.AheadError{Next: 40, End: 30})
		}
		return nil
	}
	if err := consume(t, 40, r); err != nil {
		t.Fatal(err)
	}
	checkSeen(t, r, 40)
	r = &recorder{open: func() error { return &ingest.AheadError{Next: 41, End: 30} }}
	if err := consume(t, 40, r); !errors.Is(err, ingest.ErrGone) {
		t.Fatalf("the log ends before what was folded, and the consumer ended with %v", err)
	}
}

// TestBatchesLeadBackToTheirProducers follows a trace from a record's header to the span
// of its batch.
func TestBatchesLeadBackToTheirProducers(t *testing.T) {
	r := &recorder{spans: tracetest.NewSpanRecorder()}
	if err := consume(t, 3, r); err != nil {
		t.Fatal(err)
	}
	for _, span := range r.spans.Ended() {
		if span.Name() != "ingest ratings" || len(span.Links()) == 0 {
			continue
		}
		if got := span.Links()[0].SpanContext.TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" {
			t.Fatalf("the batch is linked to trace %s", got)
		}
		return
	}
	t.Fatalf("no span of a batch with links among %d", len(r.spans.Ended()))
}
