package fold

import (
	"fmt"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// maxColumns is the most columns a tile set may have for a Reader.
const maxColumns = 64

// Reader reads chosen columns of a view straight from packed rows. It is immutable
// and safe for concurrent use.
type Reader struct {
	program  *Program
	cells    int
	sections [][]target // for each section, which outputs to read and where they go
}

type target struct {
	output
	cell int
}

// Reader makes a reader for columns of the view, in the order in which their cells
// will be written. It fails when the view has no such column.
func (p *Program) Reader(columns []string) (*Reader, error) {
	r := &Reader{program: p, cells: len(columns), sections: make([][]target, p.sections())}
	all := p.view.Columns()
	for i, name := range columns {
		at := slices.IndexFunc(all, func(c featurestore.Column) bool { return c.Name == name })
		if at < 0 {
			return nil, featurestore.Errorf(featurestore.Unknown, "view %q has no feature %q", p.view.Name, name)
		}
		out := p.outputs[at]
		r.sections[out.section] = append(r.sections[out.section], target{output: out, cell: i})
	}
	return r, nil
}

// Newest is the event time of the newest event of a row, 0 for no row or one that
// cannot be read.
func (r *Reader) Newest(row []byte) int64 {
	newest, _, err := r.program.open(row)
	if err != nil {
		return 0
	}
	return newest.Time
}

// Read writes the values of the row at time t, in microseconds, to cells, one for
// each column of the reader. row is nil when there is none. t must be after the
// row's newest event; see [ReadTime]. Strings and bytes in the cells alias the row;
// only lists are allocated.
//
// It fails when the row is damaged or of another definition; cells are then
// undefined.
func (r *Reader) Read(row []byte, t int64, cells []featurestore.Cell) error {
	cells = cells[:r.cells]
	if row == nil {
		fill(cells, featurestore.NotFound, 0)
		return nil
	}
	newest, body, err := r.program.open(row)
	if err != nil {
		return fmt.Errorf("view %q: %w", r.program.view.Name, err)
	}
	age := t - newest.Time
	switch {
	case r.program.retention > 0 && age > r.program.retention:
		fill(cells, featurestore.NotFound, 0)
		return nil
	case r.program.ttl > 0 && age > r.program.ttl:
		fill(cells, featurestore.Expired, newest.Time)
		return nil
	}
	for i, targets := range r.sections {
		var packed []byte
		if packed, body, err = nextSection(body); err != nil {
			return fmt.Errorf("view %q: %w", r.program.view.Name, err)
		}
		if len(targets) == 0 {
			continue
		}
		if i < len(r.program.kept) {
			err = readKept(packed, t, newest.Time, targets, cells)
		} else {
			err = readTiles(r.program.sets[i-len(r.program.kept)], packed, t, newest.Time, targets, cells)
		}
		if err != nil {
			return fmt.Errorf("view %q: %w", r.program.view.Name, err)
		}
	}
	return nil
}

func readKept(packed []byte, t, newest int64, targets []target, cells []featurestore.Cell) error {
	for i := range targets {
		o := &targets[i]
		v, status, err := o.agg.readKept(packed, o.typ, o.window.Start(t))
		if err != nil {
			return err
		}
		cells[o.cell] = featurestore.Cell{Value: v, Status: status, EventTime: newest}
	}
	return nil
}

func readTiles(set *tileSet, packed []byte, t, newest int64, targets []target, cells []featurestore.Cell) error {
	head, rest, err := set.open(packed)
	if err != nil {
		return err
	}
	var all, chosen [maxColumns]column
	for i := range set.specs {
		if all[i], rest, err = set.column(rest, head.n); err != nil {
			return err
		}
	}
	for i := range targets {
		o := &targets[i]
		lo := head.since(set.index(o.window.Start(t)))
		for j, c := range o.columns {
			chosen[j] = all[c]
		}
		v, status := o.agg.read(o.typ, chosen[:len(o.columns)], lo, head.n)
		cells[o.cell] = featurestore.Cell{Value: v, Status: status, EventTime: newest}
	}
	return nil
}

// column takes a column off rest; a set without tiles has none packed.
func (s *tileSet) column(rest []byte, n int) (column, []byte, error) {
	if n == 0 {
		return column{}, rest, nil
	}
	return nextColumn(rest, n)
}

func fill(cells []featurestore.Cell, status featurestore.Status, newest int64) {
	for i := range cells {
		cells[i] = featurestore.Cell{Status: status, EventTime: newest}
	}
}

// ReadTime is the time at which a read is taken: now, or just after the newest
// event of what is read if a row already holds an event newer than the caller's
// clock.
func ReadTime(now int64, newest ...int64) int64 {
	for _, n := range newest {
		now = max(now, n+1)
	}
	return now
}
