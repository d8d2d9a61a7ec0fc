package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/internal/testenv"
)

// batchTable is a table of rows in the order of event time, of which several share one, and
// the topic of its source.
type batchTable struct {
	source  *featurestore.Source
	options []kgo.Opt
	client  *kgo.Client
	rows    []Row
}

func newBatchTable(t *testing.T, rows int) *batchTable {
	t.Helper()
	b := &batchTable{source: testSource(), options: []kgo.Opt{kgo.SeedBrokers(testenv.Kafka(t)...)}}
	b.source.Topic = testenv.Namespace(t)
	var err error
	if b.client, err = kgo.NewClient(b.options...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.client.Close)
	for i := range rows {
		b.rows = append(b.rows, Row{Time: int64(1 + i/3), Key: fmt.Append(nil, i%17), Value: fmt.Append(nil, "row ", i)})
	}
	return b
}

func (b *batchTable) begin(ctx context.Context) (*BatchWriter, error) {
	w, err := NewBatchWriter(ctx, b.source, 3, b.options)
	if err == nil {
		w.full = 10
	}
	return w, err
}

// write writes the rows after what was reached; a moment before each, before is asked whether
// to stop dead.
func (b *batchTable) write(ctx context.Context, w *BatchWriter, before func(row int) (dead bool)) error {
	after := w.Reached().Time
	for i, row := range b.rows {
		if row.Time <= after {
			continue
		}
		if before != nil && before(i) {
			return errDead
		}
		if err := w.Write(ctx, row); err != nil {
			return err
		}
	}
	if err := w.Commit(ctx); err != nil {
		return err
	}
	return w.Visible(ctx)
}

var errDead = errors.New("stopped dead")

// run is a whole run.
func (b *batchTable) run(ctx context.Context) error {
	w, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer w.Close(ctx)
	return b.write(ctx, w, nil)
}

// expect checks that every row is there so many times, and that the topic says that all are.
func (b *batchTable) expect(t *testing.T, times int) {
	t.Helper()
	letters := &Letters{source: b.source, options: b.options, client: b.client}
	got := map[string]int{}
	for _, r := range letters.committed(t, b.client) {
		got[string(r.Value)]++
	}
	for _, row := range b.rows {
		if got[string(row.Value)] != times {
			t.Fatalf("%s is there %d times, not %d", row.Value, got[string(row.Value)], times)
		}
	}
	if len(got) != len(b.rows) {
		t.Fatalf("%d different rows are there, not %d", len(got), len(b.rows))
	}
}

func (b *batchTable) reached(t *testing.T) Reached {
	t.Helper()
	reached, err := ReadReached(t.Context(), b.client, b.source.Topic, b.options)
	if err != nil {
		t.Fatal(err)
	}
	return reached
}

// TestBatchThatCrashes ends runs at random moments, some of them dead with a transaction
// open, until one comes to the end: every row is there once.
func TestBatchThatCrashes(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			b := newBatchTable(t, 100)
			random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test that can be repeated
			crashes := 0
			for {
				ctx, cancel := context.WithCancel(t.Context())
				w, err := b.begin(ctx)
				if err != nil {
					t.Fatal(err)
				}
				end, dies := len(b.rows), random.IntN(2) == 0
				if crashes < 6 {
					end = random.IntN(len(b.rows))
				}
				err = b.write(ctx, w, func(row int) bool {
					if row < end {
						return false
					}
					if dies {
						return true
					}
					time.AfterFunc(time.Duration(random.IntN(3000))*time.Microsecond, cancel)
					end = len(b.rows)
					return false
				})
				if dies && err != nil { // nobody aborts the transaction
					_ = w.client.Flush(ctx)
					w.client.Close()
					w.reader.Close()
				} else {
					w.Close(ctx)
				}
				cancel()
				if err == nil {
					break
				}
				crashes++
			}
			b.expect(t, 1)
		})
	}
}

// TestBatchesAtOnce lets several runs write the same rows at once: the later one ends the earlier.
func TestBatchesAtOnce(t *testing.T) {
	b := newBatchTable(t, 300)
	var runs sync.WaitGroup
	for range 4 {
		runs.Go(func() {
			if err := b.run(t.Context()); err != nil && !errors.Is(err, ErrMaterializedElsewhere) {
				t.Error(err)
			}
		})
	}
	runs.Wait()
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.expect(t, 1)
}

// TestBatchThatWasOvertaken lets a second run begin and end in the middle of a first one.
func TestBatchThatWasOvertaken(t *testing.T) {
	b := newBatchTable(t, 40)
	first, err := b.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close(t.Context())
	err = b.write(t.Context(), first, func(row int) bool {
		if row == 25 {
			if err := b.run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return false
	})
	if !errors.Is(err, ErrMaterializedElsewhere) {
		t.Errorf("the first: %v", err)
	}
	b.expect(t, 1)
	if err := b.run(t.Context()); err != nil { // which the first one did not harm
		t.Error(err)
	}
	b.expect(t, 1)
}

// TestTransactionsHoldWholeTimes: the rows of one event time are in one, however many there are.
func TestTransactionsHoldWholeTimes(t *testing.T) {
	b := newBatchTable(t, 50)
	for i := 9; i < 35; i++ {
		b.rows[i].Time = 4
	}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	letters := &Letters{source: b.source, options: b.options, client: b.client}
	of, rows := map[int64]int64{}, map[int64]int{}
	for _, r := range letters.committed(t, b.client) {
		p, ok := reachedOf(r)
		if known := of[p.Time]; !ok || known > 0 && known != p.transaction {
			t.Fatalf("the rows of %d are in transactions %d and %d", p.Time, known, p.transaction)
		}
		of[p.Time] = p.transaction
		rows[p.transaction]++
	}
	if want := map[int64]int{1: 35, 2: 10, 3: 5}; fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("rows of the transactions: %v, not %v", rows, want)
	}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.expect(t, 1)
}

// TestReadAgain: a way through the rows that begins anew, and is interrupted, goes on from there.
func TestReadAgain(t *testing.T) {
	b := newBatchTable(t, 60)
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w, err := b.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range b.rows[:30] {
		if err := w.Write(t.Context(), row); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Commit(t.Context()), w.Visible(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), b.rows[0]); err == nil {
		t.Error("a row of before is written")
	}
	w.Close(t.Context())
	if got := b.reached(t).Time; got != 10 {
		t.Errorf("reached %d", got)
	}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.expect(t, 2)
	if got := b.reached(t).Time; got != 20 {
		t.Errorf("reached %d", got)
	}
}

// TestReachedLooksBehind: what is at the ends of the logs may be no rows, or dead letters that
// were put back with the headers that they had.
func TestReachedLooksBehind(t *testing.T) {
	b := newBatchTable(t, 20)
	if got := b.reached(t); got != (Reached{}) {
		t.Errorf("before there is a topic: %+v", got)
	}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := b.reached(t)
	if want.Time != 7 {
		t.Fatalf("reached %+v", want)
	}
	w, err := b.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 { // which are aborted
		if err := w.Write(t.Context(), Row{Time: 8, Key: fmt.Append(nil, i), Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.client.Flush(t.Context())
	w.Close(t.Context())
	for i := range 30 {
		letter := &Letter{ID: "x", Record: &kgo.Record{Headers: []kgo.RecordHeader{Reached{transaction: 99, Time: 3}.header()}}}
		again := letter.Again(b.source, time.Now())
		again.Key = fmt.Append(nil, i)
		if err := b.client.ProduceSync(t.Context(), again).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.reached(t); got != want {
		t.Errorf("reached %+v, not %+v", got, want)
	}
}

// TestBatchTopicKeepsItsRecords, though somebody made it with the broker's defaults.
func TestBatchTopicKeepsItsRecords(t *testing.T) {
	b := newBatchTable(t, 3)
	if err := EnsureTopic(t.Context(), b.client, b.source.Topic, 2, map[string]string{"retention.ms": "1000", "cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	configs, err := kadm.NewClient(b.client).DescribeTopicConfigs(t.Context(), b.source.Topic)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"retention.ms": "-1", "cleanup.policy": "delete"} {
		at := slices.IndexFunc(configs[0].Configs, func(c kadm.Config) bool { return c.Key == name })
		if got := configs[0].Configs[at].MaybeValue(); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
}
