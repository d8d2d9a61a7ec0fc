package ingest

import (
	"context"
	"fmt"

	"github.com/onehop/onehop/featurestore"
)

// maxRounds bounds how often the commits of one batch are tried again because other
// writers moved a row or a watermark.
const maxRounds = 100

// pendingBucket is what one batch has for one bucket: the events not yet folded, by
// row.
type pendingBucket struct {
	bucket int
	rows   []*rowFold
}

// processView folds a batch into one view. With idle it also moves the watermarks of
// buckets without events.
func (p *Partition) processView(ctx context.Context, v *viewState, batch Batch, idle bool) error {
	work, err := p.gather(v, batch)
	if err != nil {
		return err
	}
	if idle {
		work = v.idle(batch.To)
	}
	for _, portion := range v.portions(work, p.id.Partition) {
		if err := p.processPortion(ctx, v, batch, portion); err != nil {
			return err
		}
	}
	return nil
}

// processPortion reads, folds and writes the rows of some buckets, again and again while
// other processes write the same.
func (p *Partition) processPortion(ctx context.Context, v *viewState, batch Batch, work []*pendingBucket) error {
	defer v.lock(work)()
	for round := 0; len(work) > 0; round++ {
		if round == maxRounds {
			return errContended
		}
		if err := v.load(ctx, p.store, work); err != nil {
			return err
		}
		var err error
		if work, err = p.commit(ctx, v, batch, work); err != nil {
			return err
		}
	}
	return nil
}

// gather groups the events of a batch by bucket and row, leaving out those that the
// bucket has already.
func (p *Partition) gather(v *viewState, batch Batch) ([]*pendingBucket, error) {
	v.folder.reset()
	buckets := make([]*pendingBucket, len(v.next))
	var work []*pendingBucket
	for i := range batch.Events {
		e := &batch.Events[i]
		row, err := v.folder.row(v.View, e)
		if err != nil {
			return nil, fmt.Errorf("offset %d: %w", e.Offset, err)
		}
		if row == nil {
			continue
		}
		b := row.bucket
		if e.Offset < v.next[b] {
			v.stats.Skipped++
			continue
		}
		if buckets[b] == nil {
			buckets[b] = &pendingBucket{bucket: b}
			work = append(work, buckets[b])
		}
		if len(row.events) == 0 {
			buckets[b].rows = append(buckets[b].rows, row)
		}
		row.events = append(row.events, e)
	}
	return work, nil
}

// idle lists the buckets whose watermark is behind a position that the partition has
// passed.
func (v *viewState) idle(position int64) (work []*pendingBucket) {
	for b, next := range v.next {
		if next < position {
			work = append(work, &pendingBucket{bucket: b})
		}
	}
	return work
}

// commit folds and tries the commits of all buckets in one round trip and returns
// the buckets that must be tried again.
func (p *Partition) commit(ctx context.Context, v *viewState, batch Batch, work []*pendingBucket) ([]*pendingBucket, error) {
	commits := make([]Commit, 0, len(work))
	for _, w := range work {
		c := Commit{View: v.View, Bucket: w.bucket, Partition: p.id, Expect: v.next[w.bucket], Next: max(batch.To, v.next[w.bucket])}
		v.folder.warmed += w.warm()
		for _, row := range w.rows {
			write, err := v.folder.fold(v.View, row)
			if err != nil {
				return nil, err
			}
			c.Rows = append(c.Rows, write)
		}
		commits = append(commits, c)
	}
	outcomes, err := p.store.Commit(ctx, commits)
	if err != nil {
		return nil, err
	}
	var again []*pendingBucket
	for i, w := range work {
		retry, err := p.settle(v, w, &commits[i], &outcomes[i])
		if err != nil {
			return nil, err
		}
		if retry {
			again = append(again, w)
		}
	}
	return again, nil
}

// settle takes the outcome of one commit and says whether it must be tried again.
func (p *Partition) settle(v *viewState, w *pendingBucket, c *Commit, o *Outcome) (retry bool, err error) {
	switch {
	case o.Moved && (o.Watermark < c.Expect || o.Watermark == Missing):
		return false, fmt.Errorf("%w (bucket %d: watermark %d, remembered %d)", ErrLost, c.Bucket, o.Watermark, c.Expect)
	case o.Moved:
		// Another owner of the partition did this work, or a part of it.
		v.stats.Overtaken++
		v.next[w.bucket] = o.Watermark
		v.stats.Skipped += w.skip(o.Watermark)
		v.forget(w)
		return len(w.rows) > 0 || o.Watermark < c.Next, nil
	case len(o.Changed) > 0:
		v.stats.Conflicts++
		for i, at := range o.Changed {
			v.refresh(w.rows[at], o.Current[i])
		}
		return true, nil
	}
	v.next[w.bucket] = c.Next
	v.stats.Commits++
	for i, row := range w.rows {
		v.rowBytes = (7*v.rowBytes + len(c.Rows[i].Row)) / 8
		v.stats.Folded += int64(len(row.events)) - row.duplicates
		v.stats.Late += row.late
		v.stats.Duplicates += row.duplicates
		v.hot[w.bucket].cache.put(row.key, c.Rows[i].Row)
	}
	return false, nil
}

// warm looks at every event of the bucket. They lie all over the batch: in this short loop
// the processor waits for many of them at a time, while folding would wait for each.
func (w *pendingBucket) warm() (seen int) {
	for _, row := range w.rows {
		for _, e := range row.events {
			for i := range e.Values {
				seen += int(e.Values[i].Type)
			}
		}
	}
	return seen
}

// skip drops events below a watermark and returns how many they were.
func (w *pendingBucket) skip(watermark int64) (skipped int64) {
	var rows []*rowFold
	for _, row := range w.rows {
		var events []*featurestore.Event
		for _, e := range row.events {
			if e.Offset >= watermark {
				events = append(events, e)
			}
		}
		skipped += int64(len(row.events) - len(events))
		if row.events = events; len(events) > 0 {
			rows = append(rows, row)
		}
	}
	w.rows = rows
	return skipped
}
