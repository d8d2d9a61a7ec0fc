package materialize

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/onehop/onehop/featurestore/stream"
)

const (
	// sortBytes is how much memory the rows have that are sorted at once, about; rowBytes what
	// a row takes beside its bytes.
	sortBytes = 64 << 20
	rowBytes  = 64
	runBuffer = 64 << 10
)

// sorter puts rows in the order of event time, by a merge sort with temporary files when there
// are more than fit in memory. Rows of one time keep their order.
type sorter struct {
	limit int // 0 for sortBytes
	rows  []stream.Row
	bytes int
	runs  []*run
}

func (s *sorter) add(row stream.Row) error {
	s.rows = append(s.rows, row)
	if s.bytes += rowBytes + len(row.Key) + len(row.Value); s.bytes < cmp.Or(s.limit, sortBytes) {
		return nil
	}
	return s.spill()
}

func (s *sorter) sort() {
	slices.SortStableFunc(s.rows, func(a, b stream.Row) int { return cmp.Compare(a.Time, b.Time) })
}

// spill writes the rows in memory to a file, in order.
func (s *sorter) spill() error {
	s.sort()
	file, err := os.CreateTemp("", "onehop-*")
	if err != nil {
		return fmt.Errorf("making a temporary file to sort rows: %w", err)
	}
	s.runs = append(s.runs, &run{number: len(s.runs), file: file})
	if err := os.Remove(file.Name()); err != nil { // it is gone when it is closed or the process ends
		return fmt.Errorf("making a temporary file to sort rows: %w", err)
	}
	out := bufio.NewWriterSize(file, runBuffer)
	var head []byte
	for _, row := range s.rows {
		head = binary.AppendVarint(head[:0], row.Time)
		head = binary.AppendUvarint(head, uint64(len(row.Key)))
		head = binary.AppendUvarint(head, uint64(len(row.Value)))
		_, _ = out.Write(head) // errors stay until Flush
		_, _ = out.Write(row.Key)
		_, _ = out.Write(row.Value)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing a temporary file to sort rows: %w", err)
	}
	clear(s.rows)
	s.rows, s.bytes = s.rows[:0], 0
	return nil
}

// each gives all rows in order. Nothing may be added after it.
func (s *sorter) each(give func(stream.Row) error) error {
	if len(s.runs) == 0 {
		s.sort()
		for _, row := range s.rows {
			if err := give(row); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	left := runs(s.runs)
	for _, r := range left {
		if _, err := r.file.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("reading a temporary file of sorted rows: %w", err)
		}
		r.in = bufio.NewReaderSize(r.file, runBuffer)
	}
	var err error
	left = slices.DeleteFunc(slices.Clone(left), func(r *run) bool {
		more, problem := r.next()
		err = errors.Join(err, problem)
		return !more
	})
	if err != nil {
		return err
	}
	heap.Init(&left)
	for len(left) > 0 {
		if err := give(left[0].row); err != nil {
			return err
		}
		more, err := left[0].next()
		if err != nil {
			return err
		}
		if more {
			heap.Fix(&left, 0)
		} else {
			heap.Pop(&left)
		}
	}
	return nil
}

func (s *sorter) close() (err error) {
	for _, r := range s.runs {
		err = errors.Join(err, r.file.Close())
	}
	return err
}

// run is a file of rows in order.
type run struct {
	number int
	file   *os.File
	in     *bufio.Reader
	row    stream.Row // the next one
}

// next reads the next row; there is none at the end.
func (r *run) next() (more bool, err error) {
	at, err := binary.ReadVarint(r.in)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	var key, value uint64
	if err == nil {
		key, err = binary.ReadUvarint(r.in)
	}
	if err == nil {
		value, err = binary.ReadUvarint(r.in)
	}
	if err == nil {
		both := make([]byte, key+value)
		_, err = io.ReadFull(r.in, both)
		r.row = stream.Row{Time: at, Value: both[key:]}
		if key > 0 {
			r.row.Key = both[:key:key]
		}
	}
	if err != nil {
		return false, fmt.Errorf("reading a temporary file of sorted rows: %w", err)
	}
	return true, nil
}

// runs are those that have a next row, as a heap by it.
type runs []*run

// Len implements [heap.Interface].
func (h runs) Len() int { return len(h) }

// Less implements [heap.Interface].
func (h runs) Less(i, j int) bool {
	if a, b := h[i].row.Time, h[j].row.Time; a != b {
		return a < b
	}
	return h[i].number < h[j].number
}

// Swap implements [heap.Interface].
func (h runs) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *runs) Push(r any) { *h = append(*h, r.(*run)) } //nolint:forcetypeassert // it holds nothing else

// Pop implements [heap.Interface].
func (h *runs) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
