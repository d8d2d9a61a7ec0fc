package maintain

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/training"
)

// Backfill computes the rows of views from history, where Kafka no longer has all events:
// of new generations, and of those that Redis lost. It is safe for concurrent use; a view is
// filled by one caller at a time.
type Backfill struct {
	Pool    *pgxpool.Pool
	Store   *online.Store
	Catalog *featurestore.Catalog
	// Progress, if set, is told how many more entities are done.
	Progress func(entities int)
	// Newest, if set, is the newest version of the definitions: a view that is not in it any more
	// at the end is not put into service.
	Newest func(ctx context.Context) (*featurestore.Catalog, error)

	chunk int // tests set it: how many entities are written at a time, if not chunk
}

// Filled is what a backfill did.
type Filled struct {
	View       string `json:"view"`
	Generation int    `json:"generation"`
	// Entities and Events are of this run; Resumed says that it went on where another one was
	// stopped.
	Entities int   `json:"entities"`
	Events   int64 `json:"events"`
	Resumed  bool  `json:"resumed"`
	// Behind is how many records ingest has still to fold before the view comes into
	// service.
	Behind int64 `json:"behind"`
}

// Logs says which topic a source has, and where its logs begin and end.
type Logs func(ctx context.Context) (featurestore.TopicID, map[int32]ingest.Offsets, error)

// View fills a view up to where history goes; ingest does the rest. logs are those of its
// source. It refuses what ingest can do by itself, a view that is in service, and a
// view between whose history and Kafka's first record events are missing. When it fails the
// view stays out of service; the next call goes on where it was, if it can.
func (b *Backfill) View(ctx context.Context, view *featurestore.View, logs Logs) (*Filled, error) {
	compiled, err := ingest.NewView(b.Catalog, view)
	if err != nil {
		return nil, err
	}
	f := &filler{Backfill: b, view: compiled, source: b.Catalog.Source(view.Source), result: &Filled{View: view.Name, Generation: view.Generation}}
	f.state = compiled.Program.NewState()
	lock := fmt.Sprintf("onehop backfill %s.%s@%d", b.Catalog.Namespace, view.Name, view.Generation)
	mine, err := history.Alone(ctx, b.Pool, lock, func(*pgxpool.Conn) error {
		if err := b.refuse(ctx, compiled, logs); err != nil {
			return err
		}
		if err := f.run(ctx, logs); err != nil {
			return fmt.Errorf("filling view %q: %w", view.Name, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case !mine:
		return nil, featurestore.Errorf(featurestore.Invalid, "view %q is being filled by another process", view.Name)
	}
	return f.result, nil
}

// refuse says why a view is not to be filled from history.
func (b *Backfill) refuse(ctx context.Context, view *ingest.View, logs Logs) error {
	topic, now, err := logs(ctx)
	if err != nil {
		return err
	}
	err = ingest.Possible(ctx, b.Store, view, topic, slices.Collect(maps.Keys(now)), func(ctx context.Context) (map[int32]ingest.Offsets, error) {
		_, now, err := logs(ctx)
		return now, err
	})
	switch {
	case errors.Is(err, ingest.ErrGone):
		return nil
	case err != nil:
		return err
	}
	return featurestore.Errorf(featurestore.Invalid,
		"Kafka has every event that view %q still needs: ingest fills and follows it by itself; onehop inspect shows how far it is", view.Name)
}

// filler fills one view.
type filler struct {
	*Backfill
	view   *ingest.View
	source *featurestore.Source
	result *Filled
	state  *fold.State
	step   online.Step // that is done
}

// rebuildPlan is what a run that goes on must know of the one that was stopped.
type rebuildPlan struct {
	Fingerprint uint64          `json:"fingerprint"`
	Offsets     history.Offsets `json:"offsets"`
}

// run fills the view, from where a run was stopped or from the start.
func (f *filler) run(ctx context.Context, logs Logs) error {
	s, marks, targets, err := f.goOn(ctx, logs)
	if err == nil && s == nil {
		s, marks, targets, err = f.begin(ctx, logs)
	}
	if err != nil {
		return err
	}
	defer s.Close(ctx)
	until, err := s.Until(s.OffsetsOf(f.source.Name)) // what is added meanwhile is ingest's
	if err != nil {
		return err
	}
	if err := f.fill(ctx, until); err != nil {
		return err
	}
	if err := f.wanted(ctx); err != nil {
		return err
	}
	return f.Store.EndRebuild(ctx, f.view, f.step, marks, targets)
}

// wanted refuses a view that was deleted or changed meanwhile.
func (f *filler) wanted(ctx context.Context) error {
	if f.Newest == nil {
		return nil
	}
	newest, err := f.Newest(ctx)
	if err != nil {
		return err
	}
	switch view := newest.View(f.view.Name); {
	case view == nil:
		return featurestore.Errorf(featurestore.Unknown, "version %d of the definitions, which was applied meanwhile, has no such view: it stays out of service", newest.Version)
	case view.Generation != f.view.Generation:
		return featurestore.Errorf(featurestore.Unknown, "version %d of the definitions, which was applied meanwhile, makes it generation %d: fill that one", newest.Version, view.Generation)
	}
	return nil
}

// begin takes the view out of service and begins with the first entity.
func (f *filler) begin(ctx context.Context, logs Logs) (s *history.Snapshot, marks, targets map[ingest.PartitionID]int64, err error) {
	if s, err = history.OpenSnapshot(ctx, f.Pool, f.Catalog.Namespace, nil); err != nil {
		return nil, nil, nil, err
	}
	var plan []byte
	marks, targets, err = f.ends(ctx, s, logs)
	if err == nil {
		plan, err = json.Marshal(rebuildPlan{Fingerprint: f.view.Program.Fingerprint(), Offsets: s.OffsetsOf(f.source.Name)})
	}
	if err == nil {
		f.step = online.Step{Run: rand.Text()}
		err = f.Store.BeginRebuild(ctx, f.view, f.step, plan)
	}
	if err != nil {
		s.Close(ctx)
		return nil, nil, nil, err
	}
	return s, marks, targets, nil
}

// goOn finds out how far a run had got that was stopped. Without a snapshot there is none, or
// its rows are of no use any more: of another definition, or from a history that Postgres
// does not have or Kafka no longer reaches.
func (f *filler) goOn(ctx context.Context, logs Logs) (s *history.Snapshot, marks, targets map[ingest.PartitionID]int64, err error) {
	step, text, err := f.Store.Rebuild(ctx, f.view)
	if err != nil || step == nil {
		return nil, nil, nil, err
	}
	var plan rebuildPlan
	if err := json.Unmarshal(text, &plan); err != nil || plan.Fingerprint != f.view.Program.Fingerprint() {
		return nil, nil, nil, nil //nolint:nilerr // written by another version: it begins anew
	}
	s, err = history.OpenSnapshot(ctx, f.Pool, f.Catalog.Namespace, plan.Offsets)
	if err == nil {
		marks, targets, err = f.ends(ctx, s, logs)
	}
	var fault *featurestore.Error
	switch {
	case errors.As(err, &fault):
		if s != nil {
			s.Close(ctx)
		}
		return nil, nil, nil, nil
	case err != nil:
		return nil, nil, nil, err
	}
	f.step, f.result.Resumed = *step, true
	return s, marks, targets, nil
}

// ends are the offsets up to which history goes, and up to which ingest must fold. Kafka is
// asked after history: events arrive all the time.
func (f *filler) ends(ctx context.Context, s *history.Snapshot, look Logs) (marks, targets map[ingest.PartitionID]int64, err error) {
	topic, logs, err := look(ctx)
	if err != nil {
		return nil, nil, err
	}
	marks, targets = map[ingest.PartitionID]int64{}, map[ingest.PartitionID]int64{}
	for _, o := range s.Offsets() {
		if o.Source == f.source.Name {
			marks[ingest.PartitionID{Topic: o.Topic, Partition: o.Partition}] = o.Next
		}
	}
	for _, partition := range slices.Sorted(maps.Keys(logs)) {
		id, log := ingest.PartitionID{Topic: topic, Partition: partition}, logs[partition]
		next, known := marks[id]
		switch {
		case !known && log.Start > 0, next < log.Start:
			return nil, nil, featurestore.Errorf(featurestore.Invalid,
				"the history of source %q, partition %d, ends at offset %d and Kafka begins at %d: the events between are nowhere", f.source.Name, partition, next, log.Start)
		case next > log.End:
			return nil, nil, fmt.Errorf("history: %w", &ingest.AheadError{Partition: partition, Next: next, End: log.End})
		}
		targets[id] = log.End
		f.result.Behind += log.End - next
	}
	return marks, targets, nil
}

// fill writes the rows of all entities, chunk by chunk.
func (f *filler) fill(ctx context.Context, s *history.Snapshot) error {
	keys, err := history.OpenSnapshot(ctx, f.Pool, f.Catalog.Namespace, s.Offsets()) // a query that is being read holds its connection
	if err != nil {
		return err
	}
	defer keys.Close(ctx)
	var after []featurestore.Value
	if len(f.step.Last) > 0 {
		if after, err = f.view.Entity.ParseKey(f.step.Last); err != nil {
			return err
		}
	}
	batch := newEntities(f.view.Entity)
	err = keys.KeysAfter(ctx, f.source, f.view.JoinFields, after, func(key []featurestore.Value) error {
		if err := batch.add(key); err != nil || batch.len() < f.chunkSize() {
			return err
		}
		err := f.chunk(ctx, s, batch)
		batch = newEntities(f.view.Entity)
		return err
	})
	if err != nil || batch.len() == 0 {
		return err
	}
	return f.chunk(ctx, s, batch)
}

// chunkSize is how many entities are written at a time.
func (f *filler) chunkSize() int {
	return cmp.Or(f.Backfill.chunk, chunk)
}

// chunk writes the rows of some entities.
func (f *filler) chunk(ctx context.Context, s *history.Snapshot, batch *entities) error {
	all := make([]int, batch.len())
	for i := range all {
		all[i] = i
	}
	from, _, enough := since(f.view.Program, time.Now().UnixMicro(), s.Begin(f.source.Name))
	if !enough {
		return featurestore.Errorf(featurestore.Invalid, "the retention of source %q dropped events that the view needs", f.source.Name)
	}
	q := batch.query(training.Query{Source: f.source, KeyFields: f.view.JoinFields, Fields: f.view.Program.Fields()}, all, from)
	rows := make([]ingest.RowWrite, len(all)) // of entities without events: to be deleted
	for i := range rows {
		rows[i].Key = batch.keys[i]
	}
	last, events := -1, []featurestore.Event(nil)
	pack := func() {
		if last < 0 {
			return
		}
		slices.SortFunc(events, func(a, b featurestore.Event) int { return a.CompareLog(&b) })
		for i := range events {
			f.state.Fold(&events[i])
		}
		rows[last], events = f.pack(rows[last].Key), events[:0]
	}
	err := s.Walk(ctx, q, func(r int, e *featurestore.Event) error {
		if r != last {
			pack()
			last = r
			f.state.Reset()
		}
		f.result.Events++
		if f.view.Program.Ordered() {
			events = append(events, e.Clone()) // to be sorted
			return nil
		}
		f.state.Fold(e)
		return nil
	})
	if err != nil {
		return err
	}
	pack()
	next := online.Step{Number: f.step.Number + 1, Run: f.step.Run, Last: batch.keys[len(rows)-1]}
	if err := f.Store.PutRows(ctx, f.view, f.step, next, rows); err != nil {
		return err
	}
	f.step = next
	f.result.Entities += len(rows)
	if f.Progress != nil {
		f.Progress(len(rows))
	}
	return nil
}

// pack is the row of the state, with its expiry.
func (f *filler) pack(key []byte) ingest.RowWrite {
	row := ingest.RowWrite{Key: key}
	if f.state.Empty() {
		return row
	}
	row.Row = f.state.AppendRow(nil)
	row.Expire = f.view.Expire(f.state.Newest())
	return row
}
