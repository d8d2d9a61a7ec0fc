package predictions

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/tensor"
)

// look is what one request finds in a cache of rows.
type look struct {
	rows    *Rows
	run     *run      // of the missing rows; nil when none is kept
	scores  []float32 // of all rows, as far as they are known
	missing []int     // rows that are run
	entries []*scored // of missing, nil where the score is not kept
	keys    []string  // of entries that are not nil
	joined  []joined
	spare   batching.Batch // has the rows of joined
	key     []byte
	out     []float32 // scores of a run

	unsampled       int           // of missing, which were not looked for
	lookup, keeping time.Duration // what finding the sampled rows took, and keeping the scores
}

// joined is a row that another request, or this one, has run.
type joined struct {
	row   int
	entry *scored
}

// find looks for the first rows of a memory.
func (l *look) find(m *tensor.Memory, rows int, mode Mode) {
	for row := range rows {
		l.scores = append(l.scores, 0)
		key := l.rowKey(m, row)
		if mode == On {
			l.findRow(key, row)
			continue
		}
		if !l.rows.gate.Sampled(key) {
			l.unsampled++
			l.miss(row, nil)
			continue
		}
		start := time.Now()
		l.findRow(key, row)
		l.lookup += time.Since(start)
	}
}

func (l *look) findRow(key []byte, row int) {
	entry, found := l.rows.cache.GetIfPresent(unsafeString(key))
	if !found {
		var mine bool
		if entry, mine = l.take(key); mine {
			l.miss(row, entry)
			return
		}
	}
	if entry.run.landed.Load() {
		l.scores[row] = entry.score
		return
	}
	l.joined = append(l.joined, joined{row, entry})
}

func (l *look) miss(row int, entry *scored) {
	l.missing, l.entries = append(l.missing, row), append(l.entries, entry)
}

// spareJoined keeps the rows that others run, in case that those fail.
func (l *look) spareJoined(b batching.Batch) (err error) {
	for i, j := range l.joined {
		if l.spare == nil {
			if l.spare, err = l.rows.queue.Take(); err != nil {
				return err
			}
		}
		l.spare.Memory().Copy(i, b.Memory(), j.row, 1)
	}
	return nil
}

// compact moves the missing rows to the front.
func (l *look) compact(m *tensor.Memory) {
	for at, row := range l.missing {
		if at != row {
			m.Copy(at, m, row, 1)
		}
	}
}

// runMissing runs the missing rows, which are in front, and keeps their scores.
func (l *look) runMissing(ctx context.Context, b batching.Batch, req batching.Request, scores []float32) (waited time.Duration, err error) {
	err = errAbandoned
	defer func() {
		if err != nil {
			l.land(nil, err)
		}
	}()
	req.Rows, req.Scores = len(l.missing), l.out[:0]
	l.out, waited, err = l.rows.queue.Run(ctx, b, req)
	if err != nil {
		return waited, err
	}
	start := time.Now()
	for i, row := range l.missing {
		scores[row] = l.out[i]
	}
	l.land(l.out, nil)
	l.keeping = time.Since(start)
	return waited, nil
}

// land gives those who wait the scores of the missing rows, or an error.
func (l *look) land(scores []float32, err error) {
	if l.run == nil {
		return
	}
	if err != nil {
		for _, key := range l.keys {
			l.rows.cache.Invalidate(key)
		}
		close(l.run.done)
		return
	}
	for i, entry := range l.entries {
		if entry != nil {
			entry.score = scores[i]
		}
	}
	l.run.landed.Store(true)
	close(l.run.done)
}

// join takes the scores of rows that others have run. Where that failed they are run here: it may have been their caller who went away.
func (l *look) join(ctx context.Context, req batching.Request, scores []float32) error {
	failed := 0
	for i, j := range l.joined {
		select {
		case <-j.entry.run.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if j.entry.run.landed.Load() {
			scores[j.row] = j.entry.score
			continue
		}
		l.spare.Memory().Copy(failed, l.spare.Memory(), i, 1)
		l.joined[failed] = j
		failed++
	}
	if failed == 0 {
		return nil
	}
	req.Rows, req.Scores = failed, l.out[:0]
	var err error
	if l.out, _, err = l.rows.queue.Run(ctx, l.spare, req); err != nil {
		return err
	}
	for i, j := range l.joined[:failed] {
		scores[j.row] = l.out[i]
	}
	return nil
}

// rowKey is the key of a row: the bytes of its inputs, of which all but texts have a fixed length. It is valid until the next one, or until
// the row changes.
func (l *look) rowKey(m *tensor.Memory, row int) []byte {
	if m.Inputs() == 1 && m.Strings(0) == nil {
		return m.RowBytes(0, row)
	}
	l.key = l.key[:0]
	for i := range m.Inputs() {
		if texts := m.RowStrings(i, row); texts != nil {
			l.key = appendTexts(l.key, texts)
			continue
		}
		l.key = append(l.key, m.RowBytes(i, row)...)
	}
	return l.key
}

// appendTexts appends texts with their lengths, so that no two lists give the same bytes.
func appendTexts(dst []byte, texts []string) []byte {
	for _, text := range texts {
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
	}
	return dst
}
