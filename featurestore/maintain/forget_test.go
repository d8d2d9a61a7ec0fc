package maintain_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
)

// shop has orders that tell of users and of shops.
const shop = `
namespace: test
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
  - {name: shop, keys: [{name: shop, type: string}]}
sources:
  - name: orders
    format: json
    event_time: {field: at, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: amount, type: float64}
      - {name: shop, type: string, required: true}
views:
  - name: user
    entity: user
    source: orders
    features:
      - {name: count, aggregate: count, windows: [1h, lifetime]}
  - name: shop
    entity: shop
    source: orders
    features:
      - {name: count, aggregate: count, windows: [1h, lifetime]}
      - {name: users, aggregate: last_n, field: user_id, n: 100}
`

// orders are a hundred orders of twenty users in three shops.
func orders() []featurestore.Event {
	list := events()
	for i := range list {
		list[i].Values = append(list[i].Values, featurestore.StringValue([]string{"Ann's", "Bob's", "Cy's"}[i%3]))
	}
	return list
}

func (w *world) forgetter() *maintain.Forgetter {
	return &maintain.Forgetter{Pool: w.pool, Store: w.store, Catalogs: []*featurestore.Catalog{w.catalog}, Wait: time.Second}
}

func (w *world) forget(f *maintain.Forgetter, entity string, key featurestore.Value) (*history.Deletion, error) {
	w.t.Helper()
	d := &history.Deletion{Entity: entity, Key: key.String()}
	err := f.Source(w.t.Context(), &w.catalog.Sources[0], w.catalog.Entity(entity), []featurestore.Value{key}, d)
	return d, err
}

// right says that every row is the fold of the events in history, and how many rows there
// are.
func (w *world) right() (rows int) {
	w.t.Helper()
	for i := range w.catalog.Views {
		v, err := w.verifier.View(w.t.Context(), &w.catalog.Views[i], 0)
		w.check(err)
		if v.Wrong() > 0 || v.Unchecked > 0 {
			w.t.Errorf("%+v", v)
		}
		rows += v.Rows
	}
	return rows
}

// usersOf are the users that the row of a shop tells.
func (w *world) usersOf(shop string) []featurestore.Value {
	w.t.Helper()
	view := w.others[0]
	rows, err := w.store.Load(w.t.Context(), view, [][]byte{[]byte(shop)})
	w.check(err)
	reader, err := view.Program.Reader([]string{"users"})
	w.check(err)
	cells := make([]featurestore.Cell, 1)
	w.check(reader.Read(rows[0], time.Now().UnixMicro(), cells))
	return cells[0].Value.List
}

// TestForget: of a user who is forgotten nothing is left, in the rows of shops neither, and
// what is left is right.
func TestForget(t *testing.T) {
	w := newWorldOf(t, shop)
	all := orders()
	w.fold(all)
	w.keep(all, 100)
	dry := w.forgetter()
	dry.DryRun = true
	for range 2 { // the first counts and changes nothing
		d, err := w.forget(dry, "user", featurestore.IntValue(7))
		w.check(err)
		if d.Events != 5 || d.RowsDeleted != 1 || d.RowsRewritten != 3 {
			t.Errorf("dry %v: %+v", dry.DryRun, d)
		}
		dry.DryRun = false
	}
	if rows := w.right(); rows != 19+3 {
		t.Errorf("%d rows", rows)
	}
	for _, shop := range []string{"Ann's", "Bob's", "Cy's"} {
		users := w.usersOf(shop)
		for _, user := range users {
			if user.Int() == 7 {
				t.Errorf("%s still tells of user 7", shop)
			}
		}
		if len(users) < 30 {
			t.Errorf("%s has %d users", shop, len(users))
		}
	}
	d, err := w.forget(w.forgetter(), "user", featurestore.IntValue(7))
	w.check(err)
	if d.Events != 0 || d.RowsDeleted != 0 || d.RowsRewritten != 0 {
		t.Errorf("again: %+v", d)
	}
	d, err = w.forget(w.forgetter(), "shop", featurestore.StringValue("Ann's"))
	w.check(err)
	if d.Events != 32 || d.RowsDeleted != 1 || d.RowsRewritten != 19 {
		t.Errorf("a shop: %+v", d)
	}
	w.right()
	var records, events int
	w.check(w.pool.QueryRow(t.Context(), "SELECT count(deleted_at), sum(events) FROM onehop.deletions WHERE namespace = $1", w.catalog.Namespace).Scan(&records, &events))
	if records != 3 || events != 37 {
		t.Errorf("%d records of %d events", records, events)
	}
}

// TestForgetMeanwhile: events go on arriving, of the entity too; those stay.
func TestForgetMeanwhile(t *testing.T) {
	w := newWorldOf(t, shop)
	all := orders()
	ctx := t.Context()
	p := ingest.NewPartition(w.store, id, ingest.NewHotRows([]*ingest.View{w.view, w.others[0]}, 1<<20))
	_, err := p.Open(ctx, map[int32]ingest.Offsets{0: {End: 50}})
	w.check(err)
	w.check(p.Process(ctx, ingest.Batch{To: 50, Events: all[:50]}))
	w.check(p.Heartbeat(ctx))
	w.keep(all[:50], 50)
	folding := make(chan error, 1)
	go func() {
		folding <- func() error {
			for i := int64(50); i < 100; i++ {
				if err := p.Process(ctx, ingest.Batch{From: i, To: i + 1, Events: all[i : i+1]}); err != nil {
					return err
				}
				if err := p.Heartbeat(ctx); err != nil { // the other buckets get there too
					return err
				}
			}
			return nil
		}()
	}()
	kept := make(chan error, 1)
	go func() {
		writer := w.table.NewWriter(id)
		_, err := writer.Open(ctx, map[int32]ingest.Offsets{0: {End: 1000}})
		for i := int64(50); i < 100 && err == nil; i++ {
			err = writer.Process(ctx, ingest.Batch{From: i, To: i + 1, Events: all[i : i+1]}, 0)
		}
		kept <- err
	}()
	deleted := int64(0)
	for _, user := range []int64{3, 7, 8, 16} {
		f := w.forgetter()
		f.Wait = 20 * time.Second
		d, err := w.forget(f, "user", featurestore.IntValue(user))
		w.check(err)
		deleted += d.Events
	}
	w.check(errors.Join(<-folding, <-kept))
	w.right()
	var left int64
	w.check(w.pool.QueryRow(ctx, `SELECT count(*) FROM "onehop_`+w.catalog.Namespace+`".orders`).Scan(&left))
	if left+deleted != 100 || deleted < 8 {
		t.Errorf("%d events deleted, %d are left", deleted, left)
	}
}

// TestForgetWaits: before ingest has folded what is to be forgotten nothing is deleted from
// history, because the events would come back to the rows.
func TestForgetWaits(t *testing.T) {
	w := newWorldOf(t, shop)
	w.keep(orders(), 100)
	p := ingest.NewPartition(w.store, id, ingest.NewHotRows([]*ingest.View{w.view, w.others[0]}, 1<<20))
	_, err := p.Open(t.Context(), map[int32]ingest.Offsets{0: {End: 100}})
	w.check(err)
	w.check(p.Process(t.Context(), ingest.Batch{To: 50, Events: orders()[:50]}))
	f := w.forgetter()
	f.Wait = 200 * time.Millisecond
	_, err = w.forget(f, "user", featurestore.IntValue(7))
	var fault *featurestore.Error
	if !errors.As(err, &fault) || fault.Code != featurestore.Unavailable {
		t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	f.Wait = time.Minute
	d := &history.Deletion{Tombstone: true}
	if err := f.Source(ctx, &w.catalog.Sources[0], w.catalog.Entity("user"), []featurestore.Value{featurestore.IntValue(7)}, d); err == nil {
		t.Error("it did not wait")
	}
	var events int
	w.check(w.pool.QueryRow(t.Context(), `SELECT count(*) FROM "onehop_`+w.catalog.Namespace+`".orders WHERE f_user_id = 7`).Scan(&events))
	if events != 5 {
		t.Errorf("%d events are left in history", events)
	}
	// Both are written down, as what was begun and is not done, with how far it got.
	var begun, done, tombstones int
	w.check(w.pool.QueryRow(t.Context(), "SELECT count(begun_at), count(deleted_at), count(*) FILTER (WHERE tombstone) FROM onehop.deletions WHERE namespace = $1", w.catalog.Namespace).Scan(&begun, &done, &tombstones))
	if begun != 2 || done != 0 || tombstones != 1 {
		t.Errorf("%d deletions were begun, %d with a tombstone, and %d are done", begun, tombstones, done)
	}
}
