package maintain_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
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
	w.check(w.store.BeginRebuild(t.Context(), w.view))
	w.check(w.store.PutRows(t.Context(), w.view, []ingest.RowWrite{{Key: []byte("99"), Row: []byte("of nobody knows when")}}))
	filled, err := w.backfill(kafka(50, 100))
	w.check(err)
	if filled.Entities != 20 || filled.Events != 60 || filled.Behind != 40 {
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
	writer := w.table.NewWriter(id)
	_, err = writer.Open(t.Context(), logs)
	w.check(err)
	w.check(writer.Process(t.Context(), ingest.Batch{From: 60, To: 100, Events: all[60:]}, 0))
	if v := w.verify(0); v.Rows != 20 || v.Wrong() != 0 || v.Unchecked != 0 {
		t.Errorf("%+v", v)
	}
	if row, err := w.store.Load(t.Context(), w.view, [][]byte{[]byte("99")}); err != nil || row[0] != nil {
		t.Errorf("a row of before is there: %q, %v", row[0], err)
	}
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
