package maintain_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const definitions = `
namespace: test
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
sources:
  - name: orders
    format: json
    event_time: {field: at, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: amount, type: float64}
views:
  - name: user
    entity: user
    source: orders
    features:
      - {name: count, aggregate: count, windows: [1h, lifetime]}
      - {name: spent, aggregate: sum, field: amount, windows: [1h, lifetime]}
      - {name: last, aggregate: last_n, field: amount, n: 3}
`

var id = ingest.PartitionID{Topic: featurestore.TopicID{9}}

// world is a view whose events are in Redis and in history.
type world struct {
	t        *testing.T
	pool     *pgxpool.Pool
	store    *online.Store
	catalog  *featurestore.Catalog
	view     *ingest.View
	others   []*ingest.View // folded too
	redis    string
	table    *history.Table
	verifier *maintain.Verifier
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, definitions)
}

func newWorldOf(t *testing.T, definitions string) *world {
	t.Helper()
	return newWorldAt(t, definitions, testenv.Postgres(t))
}

func newWorldAt(t *testing.T, definitions, postgres string) *world {
	t.Helper()
	w := &world{t: t, redis: testenv.Redis(t)}
	pool, err := pgxpool.New(t.Context(), postgres)
	w.check(err)
	t.Cleanup(pool.Close)
	_, err = migrations.Up(t.Context(), pool)
	w.check(err)
	w.catalog, err = definition.Options{Namespace: testenv.Namespace(t)}.Parse([]definition.File{{Name: "d.yaml", Text: []byte(definitions)}})
	w.check(err)
	for i := range w.catalog.Views {
		w.catalog.Views[i].Generation = 1
		view, err := ingest.NewView(w.catalog, &w.catalog.Views[i])
		w.check(err)
		w.others = append(w.others, view)
	}
	w.view, w.others = w.others[0], w.others[1:]
	client, err := online.Connect(t.Context(), w.redis)
	w.check(err)
	t.Cleanup(func() { w.check(client.Close()) })
	w.store, err = online.Open(t.Context(), client)
	w.check(err)
	w.table, err = history.Open(t.Context(), pool, w.catalog.Namespace, &w.catalog.Sources[0], [][]string{{"user_id"}})
	w.check(err)
	w.pool = pool
	w.verifier = &maintain.Verifier{Pool: pool, Store: w.store, Catalog: w.catalog, Wait: time.Second}
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// events are a hundred orders of twenty users, of whom each has one that came late.
func events() []featurestore.Event {
	list := make([]featurestore.Event, 100)
	start := time.Now().Add(-time.Hour).UnixMicro()
	for i := range list {
		at := start + int64(i)*1e6
		if i/20 == 3 {
			at -= 30e6
		}
		list[i] = featurestore.Event{
			Position: featurestore.Position{Time: at, Offset: int64(i)}, RecordTime: start + int64(i)*1e6,
			Values: []featurestore.Value{featurestore.IntValue(int64(i % 20)), featurestore.FloatValue(float64(i) / 10)},
		}
	}
	return list
}

var logs = map[int32]ingest.Offsets{0: {End: 1000}}

// fold brings events to Redis.
func (w *world) fold(list []featurestore.Event) {
	const to = 100
	w.t.Helper()
	p := ingest.NewPartition(w.store, id, ingest.NewHotRows(append([]*ingest.View{w.view}, w.others...), 1<<20))
	_, err := p.Open(w.t.Context(), map[int32]ingest.Offsets{0: {End: to}})
	w.check(err)
	w.check(p.Process(w.t.Context(), ingest.Batch{From: 0, To: to, Events: list}))
	w.check(p.Heartbeat(w.t.Context()))
}

// keep brings events to history.
func (w *world) keep(list []featurestore.Event, to int64) {
	w.t.Helper()
	writer := w.table.NewWriter(id)
	_, err := writer.Open(w.t.Context(), logs)
	w.check(err)
	w.check(writer.Process(w.t.Context(), ingest.Batch{To: to, Events: list}, 0))
}

func (w *world) verify(sample int) *maintain.Verification {
	w.t.Helper()
	v, err := w.verifier.View(w.t.Context(), &w.catalog.Views[0], sample)
	w.check(err)
	return v
}

func TestRowsThatAreRightAreEqual(t *testing.T) {
	w := newWorld(t)
	all := events()
	w.fold(all)
	w.keep(append(all, featurestore.Event{ // history may be ahead
		Position: featurestore.Position{Time: all[0].Time, Offset: 100}, RecordTime: all[99].RecordTime,
		Values: []featurestore.Value{featurestore.IntValue(3), featurestore.FloatValue(1)},
	}), 101)
	for _, sample := range []int{0, 5} {
		v := w.verify(sample)
		if want := max(sample, 20*(1-min(sample, 1))); v.Rows != want || v.Points != 5*want || v.Wrong() != 0 || v.Unchecked != 0 {
			t.Errorf("sample of %d: %+v", sample, v)
		}
	}
}

// TestImportsAreNoSkew: rows do not have events that came from files, and are not asked for
// them; of entities of whom there is nothing else there is no row.
func TestImportsAreNoSkew(t *testing.T) {
	w := newWorld(t)
	all := events()
	w.fold(all)
	w.keep(all, 100)
	past := events()[:40]
	for i := range past {
		past[i].Time -= 60e6
		past[i].Partition = history.ImportPartition
		past[i].Values[0] = featurestore.IntValue(int64(i)) // of whom half have rows
	}
	writer := w.table.NewWriter(ingest.PartitionID{Topic: featurestore.TopicID{1}, Partition: history.ImportPartition})
	_, err := writer.Open(t.Context(), map[int32]ingest.Offsets{history.ImportPartition: {End: 40}})
	w.check(err)
	w.check(writer.Process(t.Context(), ingest.Batch{To: 40, Events: past}, 0))
	if v := w.verify(0); v.Rows != 40 || v.Wrong() != 0 || v.Unchecked != 0 {
		t.Errorf("%+v", v)
	}
}

// TestRetentionIsNoSkew: of rows whose older events history dropped, the values of now are
// compared, and what cannot be is not called wrong.
func TestRetentionIsNoSkew(t *testing.T) {
	for _, c := range []struct {
		drop            time.Duration // how far before now history begins
		lifetime        bool
		rows, unchecked int
	}{{90 * time.Minute, false, 20, 0}, {90 * time.Minute, true, 0, 20}, {55 * time.Minute, false, 0, 20}} {
		w := newWorld(t)
		w.catalog.Sources[0].MaxAge = 0
		if view := &w.catalog.Views[0]; !c.lifetime {
			view.Features = view.Features[:2]
			for i := range view.Features {
				view.Features[i].Windows = view.Features[i].Windows[:1]
			}
		}
		var err error
		w.view, err = ingest.NewView(w.catalog, &w.catalog.Views[0])
		w.check(err)
		all := events()
		for i := range all { // of each user there is one event of 50 minutes ago, and others of 100
			if all[i].Time -= 40 * 60e6; i >= 80 {
				all[i].Time += 50 * 60e6
			}
			all[i].RecordTime = all[i].Time
		}
		w.fold(all)
		w.keep(all, 100)
		begin := time.Now().Add(-c.drop)
		for statement, args := range map[string][]any{
			"INSERT INTO onehop.dropped VALUES ($1, $2, $3)":                              {w.catalog.Namespace, "orders", begin},
			"DELETE FROM onehop_" + w.catalog.Namespace + ".orders WHERE event_time < $1": {begin},
		} {
			_, err := w.pool.Exec(t.Context(), statement, args...)
			w.check(err)
		}
		if v := w.verify(0); v.Rows != c.rows || v.Unchecked != c.unchecked || v.Wrong() != 0 {
			t.Errorf("history of %s, lifetime %v: %+v", c.drop, c.lifetime, v)
		}
	}
}

func TestRowsThatAreWrongAreTold(t *testing.T) {
	all := events()
	without := func(drop func(i int) bool) []featurestore.Event {
		var some []featurestore.Event
		for i, e := range all {
			if !drop(i) {
				some = append(some, e)
			}
		}
		return some
	}
	for name, c := range map[string]struct {
		online  []featurestore.Event
		history []featurestore.Event
		reason  maintain.Reason
	}{
		"the last event is missing": {without(func(i int) bool { return i == 83 }), all, maintain.Lost},
		"no row":                    {without(func(i int) bool { return i%20 == 3 }), all, maintain.Lost},
		"the late event is missing": {without(func(i int) bool { return i == 63 }), all, maintain.Late},
		"one event too many":        {all, without(func(i int) bool { return i == 43 }), maintain.Unknown},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			w := newWorld(t)
			w.fold(c.online)
			w.keep(c.history, 100)
			v := w.verify(0)
			if v.Rows != 20 || v.Wrong() != 1 || v.Different[c.reason] != 1 || len(v.Differences) != 1 || v.Differences[0].Key != "3" {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestRowsOfAnotherDefinitionAreTold(t *testing.T) {
	w := newWorld(t)
	all := events()
	w.fold(all)
	w.keep(all, 100)
	w.catalog.Views[0].Features[2].N = 4
	if v := w.verify(0); v.Different[maintain.Definition] != 20 {
		t.Errorf("%+v", v)
	}
}

// TestHistoryThatIsBehindIsWaitedFor, and what it does not reach is not called wrong.
func TestHistoryThatIsBehindIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	all := events()
	w.fold(all)
	w.keep(all[:60], 60)
	if v := w.verify(0); v.Rows != 0 || v.Unchecked != 20 || v.Wrong() != 0 {
		t.Errorf("%+v", v)
	}
	w.verifier.Wait = time.Minute
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-time.After(300 * time.Millisecond)
		writer := w.table.NewWriter(id)
		if _, err := writer.Open(t.Context(), logs); err != nil {
			t.Error(err)
		}
		if err := writer.Process(t.Context(), ingest.Batch{From: 60, To: 100, Events: all[60:]}, 0); err != nil {
			t.Error(err)
		}
	}()
	if v := w.verify(0); v.Rows != 20 || v.Unchecked != 0 || v.Wrong() != 0 {
		t.Errorf("%+v", v)
	}
	<-done
}

func TestBucketsThatAreBeingFilledAreNotCompared(t *testing.T) {
	w := newWorld(t)
	all := events()
	w.fold(all)
	w.keep(all, 100)
	w.check(w.store.Suspend(t.Context(), online.NewView(w.catalog.Namespace, &w.catalog.Views[0])))
	if v := w.verify(0); v.Rows != 0 || v.Unchecked != 20 {
		t.Errorf("%+v", fmt.Sprint(v))
	}
}
