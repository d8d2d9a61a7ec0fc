package maintain

import (
	"context"
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
)

// Forgetter deletes what is known of one entity: its events from history, its rows from
// Redis, and what its events have left in the rows of other entities. It is safe for
// concurrent use; of two that delete the same entity each does what is left.
//
// A row in Redis is replaced by the fold of its events without those of the entity, under
// the same comparison of watermarks and stamps by which ingest writes. So ingest goes on
// meanwhile, and every row is the fold of its events in history again when it ends.
type Forgetter struct {
	Pool  *pgxpool.Pool
	Store *online.Store
	// Catalogs are versions of the definitions, the newest last: every generation in them
	// loses its rows.
	Catalogs []*featurestore.Catalog
	// Wait is how long ingest may take to fold what history has, and history what is
	// folded.
	Wait time.Duration
	// DryRun counts and deletes nothing.
	DryRun bool
}

// Source forgets an entity's events of one source that history has now, and fills in the
// counts of the record d, which is written down when it begins and when it ends. It fails with [featurestore.Unavailable] when ingest does
// not get as far as history within the time to wait; nothing is deleted from history then, and a
// further run does the rest.
func (f *Forgetter) Source(ctx context.Context, source *featurestore.Source, entity *featurestore.Entity, key []featurestore.Value, d *history.Deletion) (err error) {
	newest := f.Catalogs[len(f.Catalogs)-1]
	if !f.DryRun {
		d.Source = source.Name
		if err := d.Begin(ctx, f.Pool, newest.Namespace); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, d.Stopped(ctx, f.Pool))
			}
		}()
	}
	s, err := history.OpenSnapshot(ctx, f.Pool, newest.Namespace, nil)
	if err != nil {
		return err
	}
	defer s.Close(ctx)
	what := &history.Forgotten{Source: source, Fields: keyFields(newest, source, entity.Name), Key: key, Until: s.OffsetsOf(source.Name)}
	d.Events, d.RowsDeleted, d.RowsRewritten = 0, 0, 0
	done := map[string]bool{}
	for _, catalog := range slices.Backward(f.Catalogs) {
		for _, view := range catalog.ViewsOf(source.Name) {
			name := fmt.Sprintf("%s@%d", view.Name, view.Generation)
			if done[name] {
				continue
			}
			done[name] = true
			if err := f.view(ctx, s, catalog, view, what, catalog == newest, d); err != nil {
				return fmt.Errorf("view %s: %w", name, err)
			}
		}
	}
	if f.DryRun {
		d.Events, err = s.Count(ctx, what)
		return err
	}
	return history.Forget(ctx, f.Pool, newest.Namespace, what, d)
}

// Reached waits until history has a partition's records below an offset.
func (f *Forgetter) Reached(ctx context.Context, source *featurestore.Source, id ingest.PartitionID, next int64) error {
	catalog := f.Catalogs[len(f.Catalogs)-1]
	c := &comparison{Verifier: &Verifier{Pool: f.Pool, Catalog: catalog, Wait: f.Wait}, source: source}
	s, err := c.reach(ctx, map[int]*online.Look{0: {Watermarks: map[ingest.PartitionID]int64{id: next}}})
	if errors.Is(err, errBehind) {
		return featurestore.Errorf(featurestore.Unavailable, "history did not get to offset %d of partition %d within %s: is ingest running?", next, id.Partition, f.Wait)
	}
	if err == nil {
		s.Close(ctx)
	}
	return err
}

// keyFields are the fields that hold an entity's key, in each way in which a view of the
// source is joined to it.
func keyFields(catalog *featurestore.Catalog, source *featurestore.Source, entity string) [][]int {
	var lists [][]int
	for _, view := range catalog.ViewsOf(source.Name) {
		if view.Entity != entity {
			continue
		}
		var fields []int
		for _, name := range view.JoinFields {
			fields = append(fields, source.Field(name))
		}
		if !slices.ContainsFunc(lists, func(l []int) bool { return slices.Equal(l, fields) }) {
			lists = append(lists, fields)
		}
	}
	return lists
}

// view rewrites the rows of one generation.
func (f *Forgetter) view(ctx context.Context, s *history.Snapshot, catalog *featurestore.Catalog, view *featurestore.View, what *history.Forgotten, inForce bool, d *history.Deletion) error {
	c, err := (&Verifier{Pool: f.Pool, Store: f.Store, Catalog: catalog, Wait: f.Wait}).newComparison(view)
	if err != nil {
		return err
	}
	r := &rewriter{comparison: c, what: what, inForce: inForce, dryRun: f.DryRun, deletion: d}
	keys, err := history.OpenSnapshot(ctx, f.Pool, catalog.Namespace, s.Offsets()) // a query that is being read holds its connection
	if err != nil {
		return err
	}
	defer keys.Close(ctx)
	batch := newEntities(c.view.Entity)
	if view.Entity == d.Entity { // of which history may know nothing any more
		if err := batch.add(what.Key); err != nil {
			return err
		}
	}
	err = keys.KeysIn(ctx, what, c.view.JoinFields, func(key []featurestore.Value) error {
		if view.Entity == d.Entity && slices.EqualFunc(key, what.Key, func(a, b featurestore.Value) bool { return a.Equal(b) }) {
			return nil
		}
		if err := batch.add(key); err != nil || batch.len() < chunk {
			return err
		}
		err := r.rows(ctx, batch)
		batch = newEntities(c.view.Entity)
		return err
	})
	if err != nil {
		return err
	}
	return r.rows(ctx, batch)
}

// rewriter folds rows of one generation anew, without the events that are to be forgotten.
type rewriter struct {
	*comparison
	what *history.Forgotten
	// inForce says that ingest folds the generation, so that rows must be as far as the
	// events that are forgotten: what comes later would bring them back.
	inForce  bool
	dryRun   bool
	deletion *history.Deletion
}

func (r *rewriter) rows(ctx context.Context, batch *entities) error {
	for _, bucket := range slices.Sorted(maps.Keys(batch.buckets)) {
		rows := batch.buckets[bucket]
		for deadline := time.Now().Add(r.Wait); len(rows) > 0; {
			left, err := r.bucket(ctx, batch, bucket, rows)
			if err != nil {
				return err
			}
			if rows = left; len(rows) == 0 {
				break
			}
			if time.Now().After(deadline) {
				return featurestore.Errorf(featurestore.Unavailable,
					"ingest has not folded in %s what history has, or writes the same rows all the time: is it running, or is the view being filled by onehop backfill? See onehop inspect; what is done stays done, run it again", r.Wait)
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// bucket rewrites rows of one bucket and returns those for which it is too early, or that
// were written meanwhile.
func (r *rewriter) bucket(ctx context.Context, batch *entities, bucket int, rows []int) (left []int, err error) {
	look, err := r.Store.Look(ctx, r.online, bucket, batch.keysOf(rows))
	switch {
	case err != nil:
		return nil, err
	case r.inForce && !r.far(look):
		return rows, nil
	case len(look.Watermarks) == 0: // nothing was ever folded, all of it was lost, or it is being filled
		if r.inForce && slices.ContainsFunc(look.Rows, func(row []byte) bool { return row != nil }) {
			return rows, nil
		}
		return nil, nil
	}
	s, err := r.reach(ctx, map[int]*online.Look{bucket: look})
	if errors.Is(err, errBehind) {
		return rows, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close(ctx)
	writes, kept, err := r.fold(ctx, s, batch, rows, look)
	if err != nil || len(writes) == 0 {
		return nil, err
	}
	if !r.dryRun {
		if left, err = r.commit(ctx, bucket, look, writes, kept); len(left) > 0 || err != nil {
			return left, err
		}
	}
	for i := range writes {
		if writes[i].Row == nil {
			r.deletion.RowsDeleted++
		} else {
			r.deletion.RowsRewritten++
		}
	}
	return nil, nil
}

// far says whether the rows hold all events that are to be forgotten.
func (r *rewriter) far(look *online.Look) bool {
	for _, o := range r.what.Until {
		next, known := look.Watermarks[ingest.PartitionID{Topic: o.Topic, Partition: o.Partition}]
		if known && next < o.Next {
			return false
		}
	}
	return true
}

// fold folds rows without the events, and returns those that become others.
func (r *rewriter) fold(ctx context.Context, s *history.Snapshot, batch *entities, rows []int, look *online.Look) (writes []ingest.RowWrite, of []int, err error) {
	if s, err = s.Until(r.offsets(look.Watermarks)); err != nil {
		return nil, nil, err
	}
	if s, err = s.Without(ctx, r.what); err != nil {
		return nil, nil, err
	}
	from, _, enough := since(r.view.Program, time.Now().UnixMicro(), s.Begin(r.source.Name))
	if !enough {
		return nil, nil, featurestore.Errorf(featurestore.Invalid, "the retention of source %q dropped events that the rows need", r.source.Name)
	}
	events, err := r.events(ctx, s, batch, rows, from)
	if err != nil {
		return nil, nil, err
	}
	for i, row := range rows {
		if look.Rows[i] == nil {
			continue
		}
		w := ingest.RowWrite{Key: batch.keys[row], Stamp: fold.Stamp(look.Rows[i]), Row: r.foldAll(events[i])}
		if fold.Stamp(w.Row) == w.Stamp {
			continue
		}
		if w.Row != nil {
			w.Expire = r.view.Expire(r.state.Newest())
		}
		writes, of = append(writes, w), append(of, row)
	}
	return writes, of, nil
}

// commitTries is how often a commit is tried while the bucket's watermark moves on.
const commitTries = 20

// commit writes rows if none of them has changed since they were looked at, and returns
// which to look at again. That the watermark moves on does not matter to rows that stay as
// they are.
func (r *rewriter) commit(ctx context.Context, bucket int, look *online.Look, writes []ingest.RowWrite, of []int) (left []int, err error) {
	var c ingest.Commit
	for id, next := range look.Watermarks { // whichever
		c = ingest.Commit{View: r.view, Bucket: bucket, Partition: id, Expect: next, Next: next, Rows: writes}
		break
	}
	for range commitTries {
		outcomes, err := r.Store.Commit(ctx, []ingest.Commit{c})
		switch {
		case err != nil:
			return nil, err
		case len(outcomes[0].Changed) > 0 || outcomes[0].Moved && outcomes[0].Watermark == ingest.Missing:
			return of, nil
		case !outcomes[0].Moved:
			return nil, nil
		}
		c.Expect, c.Next = outcomes[0].Watermark, outcomes[0].Watermark
	}
	return of, nil
}
