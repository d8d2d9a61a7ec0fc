package maintain_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/online"
)

// kafka is a topic of one partition whose log begins and ends there.
func kafka(start, end int64) maintain.Logs {
	return func(context.Context) (featurestore.TopicID, map[int32]ingest.Offsets, error) {
		return id.Topic, map[int32]ingest.Offsets{0: {Start: start, End: end}}, nil
	}
}

func (w *world) backfill(logs maintain.Logs) (*maintain.Filled, error) {
	b := maintain.Backfill{Pool: w.pool, Store: w.store, Catalog: w.catalog}
	return b.View(w.t.Context(), &w.catalog.Views[0], logs)
}

// TestBackfill fills a view from the first sixty of a hundred events, over what is left of
// another life, and lets ingest do the rest.
func TestBackfill(t *testing.T) {
	w := newWorld(t)
	all := events()
	w.fold(all) // whose watermarks are then lost
	w.keep(all[:60], 60)
	first, second := online.Step{Run: "other"}, online.Step{Number: 1, Run: "other", Last: []byte("99")}
	w.check(w.store.BeginRebuild(t.Context(), w.view, first, []byte(`{"fingerprint":1}`)))
	w.check(w.store.PutRows(t.Context(), w.view, first, second, []ingest.RowWrite{{Key: []byte("99"), Row: []byte("of another definition")}}))
	filled, err := w.backfill(kafka(50, 100))
	w.check(err)
	if filled.Entities != 20 || filled.Events != 60 || filled.Behind != 40 || filled.Resumed {
		t.Errorf("%+v", filled)
	}
	if v := w.verify(0); v.Rows != 0 || v.Unchecked != 20 {
		t.Errorf("it is in service before ingest has caught up: %+v", v)
	}
	p := ingest.NewPartition(w.store, id, ingest.NewHotRows([]*ingest.View{w.view}, 1<<20))
	next, err := p.Open(t.Context(), map[int32]ingest.Offsets{0: {Start: 50, End: 100}})
	if err != nil || next != 60 {
		t.Fatalf("ingest goes on at %d, %v; want 60", next, err)
	}
	w.check(p.Process(t.Context(), ingest.Batch{From: 60, To: 100, Events: all[60:]}))
	w.check(p.Heartbeat(t.Context()))
	w.add(all[60:], 60, 100)
	if v := w.verify(0); v.Rows != 20 || v.Wrong() != 0 || v.Unchecked != 0 {
		t.Errorf("%+v", v)
	}
	if row, err := w.store.Load(t.Context(), w.view, [][]byte{[]byte("99")}); err != nil || row[0] != nil {
		t.Errorf("a row of before is there: %q, %v", row[0], err)
	}
}

// TestBackfillGoesOn: a filler that is stopped after any number of chunks goes on where it was,
// with history as it was then, and does no entity twice.
func TestBackfillGoesOn(t *testing.T) {
	w := newWorld(t)
	all := events()
	for i := range all { // sums whose bits do not depend on the order of events
		all[i].Values[1] = featurestore.FloatValue(float64(i))
	}
	w.keep(all[:60], 60)
	for stop := range 4 {
		// Redis has forgotten the rows, and Kafka the first events.
		w.check(w.store.BeginRebuild(t.Context(), w.view, online.Step{Run: "none"}, nil))
		ctx, cancel := context.WithCancel(t.Context())
		chunks := 0
		b := &maintain.Backfill{Pool: w.pool, Store: w.store, Catalog: w.catalog, Progress: func(int) {
			if chunks++; chunks > stop {
				cancel()
			}
		}}
		if _, err := b.InChunks(4).View(ctx, &w.catalog.Views[0], kafka(50, 100)); err == nil {
			t.Fatal("it was not stopped")
		}
		cancel()
		if stop == 2 { // events of users that are done, and of one who sorts last
			w.add(all[60:65], 60, 65)
			w.add([]featurestore.Event{{
				Position: featurestore.Position{Time: all[0].Time, Offset: 65}, RecordTime: all[99].RecordTime,
				Values: []featurestore.Value{featurestore.IntValue(1000), featurestore.FloatValue(1)},
			}}, 65, 66)
		}
		b.Progress = nil
		filled, err := b.View(t.Context(), &w.catalog.Views[0], kafka(50, 100))
		w.check(err)
		most := 20 - 4*(stop+1)
		if stop >= 2 {
			most++ // who came last; at first without an event in the history that is asked
		}
		if !filled.Resumed || filled.Entities != most {
			t.Errorf("stopped after %d chunks: %+v", stop+1, filled)
		}
		if marks, err := w.store.Marks(t.Context(), w.view, id); err != nil || marks[0].Next != 60+int64(max(0, stop-2))*6 {
			t.Errorf("ingest goes on at %+v, %v", marks[0], err)
		}
		w.isFold(all[:60+max(0, stop-2)*5])
	}
}

// TestBackfillOverALoss: a filler whose rows Redis loses meanwhile ends with an error, and
// never says that the view has them.
func TestBackfillOverALoss(t *testing.T) {
	w := newWorld(t)
	all := events()
	w.keep(all[:60], 60)
	client, err := online.Connect(t.Context(), w.redis)
	w.check(err)
	defer func() { w.check(client.Close()) }()
	chunks := 0
	b := &maintain.Backfill{Pool: w.pool, Store: w.store, Catalog: w.catalog, Progress: func(int) {
		if chunks++; chunks == 2 {
			keys, err := client.Keys(t.Context(), "{"+w.catalog.Namespace+":*").Result()
			w.check(err)
			w.check(client.Del(t.Context(), keys...).Err())
		}
	}}
	if _, err := b.InChunks(4).View(t.Context(), &w.catalog.Views[0], kafka(50, 100)); !errors.Is(err, online.ErrRebuildLost) {
		t.Fatalf("%v", err)
	}
	filled, err := b.View(t.Context(), &w.catalog.Views[0], kafka(50, 100))
	if err != nil || filled.Resumed || filled.Entities != 20 {
		t.Fatalf("%+v, %v", filled, err)
	}
	w.isFold(all[:60])
}

// TestBackfillOfAViewThatIsGone: what was deleted or changed while it was filled does not come
// into service.
func TestBackfillOfAViewThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.keep(events()[:60], 60)
	changed := *w.catalog
	changed.Version, changed.Views = 7, slices.Clone(w.catalog.Views)
	changed.Views[0].Generation = 2
	for says, newest := range map[string]*featurestore.Catalog{
		"version 6 of the definitions, which was applied meanwhile, has no such view": {Version: 6},
		"makes it generation 2: fill that one":                                        &changed,
	} {
		b := &maintain.Backfill{Pool: w.pool, Store: w.store, Catalog: w.catalog, Newest: func(context.Context) (*featurestore.Catalog, error) { return newest, nil }}
		if _, err := b.View(t.Context(), &w.catalog.Views[0], kafka(50, 100)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
		if marks, err := w.store.Marks(t.Context(), w.view, id); err != nil || marks[0].Known {
			t.Errorf("it came into service: %+v, %v", marks[0], err)
		}
	}
}

// isFold checks that the rows of the twenty users are the fold of events.
func (w *world) isFold(list []featurestore.Event) {
	w.t.Helper()
	state := w.view.Program.NewState()
	for user := range int64(20) {
		state.Reset()
		for i := range list {
			if list[i].Values[0].Int() == user {
				state.Fold(&list[i])
			}
		}
		rows, err := w.store.Load(w.t.Context(), w.view, [][]byte{strconv.AppendInt(nil, user, 10)})
		w.check(err)
		if want := state.AppendRow(nil); !bytes.Equal(rows[0], want) {
			w.t.Errorf("user %d: the row is %x, not %x", user, rows[0], want)
		}
	}
}

// add brings further events to history.
func (w *world) add(list []featurestore.Event, from, to int64) {
	w.t.Helper()
	writer := w.table.NewWriter(id)
	_, err := writer.Open(w.t.Context(), logs)
	w.check(err)
	w.check(writer.Process(w.t.Context(), ingest.Batch{From: from, To: to, Events: list}, 0))
}

func TestBackfillsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.keep(events()[:60], 60)
	for says, logs := range map[string]maintain.Logs{
		"ingest fills and follows it by itself":    kafka(0, 100),
		"ends at offset 60 and Kafka begins at 70": kafka(70, 100),
		"offset 60": kafka(50, 55),
	} {
		var ahead *ingest.AheadError
		if _, err := w.backfill(logs); err == nil || !strings.Contains(err.Error(), says) && !errors.As(err, &ahead) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	other, err := w.pool.Acquire(t.Context())
	w.check(err)
	defer other.Release()
	_, err = other.Exec(t.Context(), "SELECT pg_advisory_lock(hashtext($1))", "onehop backfill "+w.catalog.Namespace+".user@1")
	w.check(err)
	if _, err := w.backfill(kafka(50, 100)); err == nil || !strings.Contains(err.Error(), "by another process") {
		t.Errorf("two at once: %v", err)
	}
	_, err = other.Exec(t.Context(), "SELECT pg_advisory_unlock_all()")
	w.check(err)
}
