package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// ExpirySlack is added to a row's retention before Redis may forget it: reads say
// NOT_FOUND first, whatever the clocks of reader and store are.
const ExpirySlack = time.Hour

// rowFold is one row of a batch: where it is, what it was, and the events to fold.
type rowFold struct {
	key    string
	bucket int
	events []*featurestore.Event
	known  bool   // row is what the store had when last asked
	row    []byte // nil if there is none
	// write is the fold of the events into row, while folded says so, and late and
	// duplicates count what became of them.
	folded           bool
	write            RowWrite
	late, duplicates int64
}

// folder folds the rows of one view. All of it is used again for every batch.
type folder struct {
	state *fold.State
	// warmed is there so that warming cannot be left out by the compiler.
	warmed int
	rows   map[string]*rowFold
	key    []byte
	join   []featurestore.Value
}

func (f *folder) reset() {
	if f.rows == nil {
		f.rows = make(map[string]*rowFold)
	}
	clear(f.rows)
}

// row finds the row that an event belongs to; nil when it deletes by a key that does not
// name a row of this view, which an earlier version of the source allowed.
func (f *folder) row(v *View, e *featurestore.Event) (*rowFold, error) {
	f.join = f.join[:0]
	for _, field := range v.JoinFields {
		if e.Delete && e.Values[field].IsNull() {
			return nil, nil
		}
		f.join = append(f.join, e.Values[field])
	}
	var err error
	if f.key, err = v.Entity.AppendKey(f.key[:0], f.join); err != nil {
		return nil, err
	}
	row, ok := f.rows[string(f.key)]
	if !ok {
		row = &rowFold{key: string(f.key), bucket: featurestore.Bucket(f.key)}
		f.rows[row.key] = row
	}
	return row, nil
}

// load fetches the rows that are not known yet, from the cache or from the store in
// one round trip.
func (v *viewState) load(ctx context.Context, store Rows, work []*pendingBucket) error {
	var keys [][]byte
	var rows []*rowFold
	for _, w := range work {
		for _, row := range w.rows {
			if row.known {
				continue
			}
			if packed, ok := v.hot[row.bucket].cache.get(row.key); ok {
				row.row, row.known = packed, true
				v.stats.RowHits++
				continue
			}
			keys, rows = append(keys, []byte(row.key)), append(rows, row)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	v.stats.RowLoads += int64(len(keys))
	packed, err := store.Load(ctx, v.View, keys)
	if err != nil {
		return err
	}
	for i, row := range rows {
		row.row, row.known = packed[i], true
	}
	return nil
}

// fold folds a row's events and packs the result. When a rival's row made a commit fail, only
// that one is folded again.
func (f *folder) fold(v *View, row *rowFold) (RowWrite, error) {
	if row.folded {
		return row.write, nil
	}
	var err error
	row.write, err = f.pack(v, row)
	row.folded = err == nil
	return row.write, err
}

func (f *folder) pack(v *View, row *rowFold) (RowWrite, error) {
	write := RowWrite{Key: []byte(row.key), Stamp: fold.Stamp(row.row)}
	if row.row == nil {
		f.state.Reset()
	} else if err := f.state.Decode(row.row); err != nil {
		return write, errors.Join(fmt.Errorf("entity %s", featurestore.KeyText([]byte(row.key))), err)
	}
	row.late, row.duplicates = 0, 0
	for _, e := range row.events {
		switch f.state.Fold(e) {
		case fold.Late:
			row.late++
		case fold.Duplicate:
			row.duplicates++
		case fold.Folded:
		}
	}
	if f.state.Empty() {
		return write, nil // deleted, and nothing came after
	}
	write.Row = f.state.AppendRow(make([]byte, 0, len(row.row)+64))
	write.Expire = v.Expire(f.state.Newest())
	return write, nil
}

// refresh takes the row that another writer wrote.
func (v *viewState) refresh(row *rowFold, current []byte) {
	v.hot[row.bucket].cache.remove(row.key)
	row.row, row.known, row.folded = current, true, false
}

// forget makes the rows of a bucket be asked for again.
func (v *viewState) forget(w *pendingBucket) {
	for _, row := range w.rows {
		v.hot[w.bucket].cache.remove(row.key)
		row.row, row.known, row.folded = nil, false, false
	}
}
