package fold

import (
	"fmt"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// maxColumns is the most columns that a tile set may have.
const maxColumns = 64

// columnSet holds the columns that one aggregate reads, in the order of its partials. It
// is passed by value, so that nothing escapes to the heap.
type columnSet [4]column

// Reader reads chosen columns of a view straight from packed rows. It is immutable
// and safe for concurrent use.
type Reader struct {
	program  *Program
	cells    int
	sections []wanted // for each section of a row, what is read from it
}

// wanted is what a reader wants of one section.
type wanted struct {
	targets []target
	// windows are the different windows of the targets, and of a tile set columns is
	// how many of the packed columns must be looked at.
	windows []featurestore.Window
	columns int
	// edge says, for each value of an edge up to the last wanted one, which cell it goes
	// to, or −1.
	edge []int
}

// target is one output: how to read it, and which cell it goes to.
type target struct {
	output
	window int // of wanted.windows
	cell   int
}

// Reader makes a reader for columns of the view, in the order in which their cells
// will be written. It fails when the view has no such column.
func (p *Program) Reader(columns []string) (*Reader, error) {
	r := &Reader{program: p, cells: len(columns), sections: make([]wanted, p.sections())}
	all := p.view.Columns()
	for i, name := range columns {
		at := slices.IndexFunc(all, func(c featurestore.Column) bool { return c.Name == name })
		if at < 0 {
			return nil, featurestore.Errorf(featurestore.Unknown, "view %q has no feature %q", p.view.Name, name)
		}
		out := p.outputs[at]
		w := &r.sections[out.section]
		if out.edge != nil {
			for len(w.edge) <= out.at {
				w.edge = append(w.edge, -1)
			}
			w.edge[out.at] = i
			continue
		}
		window := slices.Index(w.windows, out.window)
		if window < 0 {
			window, w.windows = len(w.windows), append(w.windows, out.window)
		}
		for _, c := range out.columns {
			w.columns = max(w.columns, c+1)
		}
		w.targets = append(w.targets, target{output: out, window: window, cell: i})
	}
	return r, nil
}

// Newest is the event time of the newest event of a row, 0 for no row or one that
// cannot be read.
func (r *Reader) Newest(row []byte) int64 {
	if r.program.check(row) != nil {
		return 0
	}
	return newestTime(row)
}

// Read writes the values of the row at time t, in microseconds, to cells, one for
// each column of the reader. row is nil when there is none. A row that holds an event of t
// or later is read just after its newest one; see [ReadTime]. Strings and bytes in the
// cells alias the row; only lists are allocated.
//
// It fails when the row is damaged or of another definition; cells are then
// undefined.
func (r *Reader) Read(row []byte, t int64, cells []featurestore.Cell) error {
	cells = cells[:r.cells]
	if row == nil {
		fill(cells, featurestore.NotFound, 0)
		return nil
	}
	if err := r.program.check(row); err != nil {
		return fmt.Errorf("view %q: %w", r.program.view.Name, err)
	}
	newest := newestTime(row)
	t = ReadTime(t, newest)
	age := t - newest
	switch {
	case r.program.retention > 0 && age > r.program.retention:
		fill(cells, featurestore.NotFound, 0)
		return nil
	case r.program.ttl > 0 && age > r.program.ttl:
		fill(cells, featurestore.Expired, newest)
		return nil
	}
	body, err := sectionsOf(row)
	if err != nil {
		return fmt.Errorf("view %q: %w", r.program.view.Name, err)
	}
	for i := range r.sections {
		want := &r.sections[i]
		var packed []byte
		if packed, body, err = nextSection(body); err != nil {
			return fmt.Errorf("view %q: %w", r.program.view.Name, err)
		}
		switch {
		case len(want.edge) > 0:
			err = r.program.edges[i].read(packed, want.edge, newest, t, r.program, cells)
		case len(want.targets) == 0:
		case i < r.program.firstSet():
			err = readKept(packed, t, newest, r.program.forgotten(t), want.targets, cells)
		default:
			err = readTiles(r.program.sets[i-r.program.firstSet()], packed, t, newest, want, cells)
		}
		if err != nil {
			return fmt.Errorf("view %q: %w", r.program.view.Name, err)
		}
	}
	return nil
}

// expired is the event time before which an event is older than the TTL at time t.
func (p *Program) expired(t int64) int64 {
	if p.ttl == 0 {
		return 0
	}
	return t - p.ttl
}

// forgotten is the event time before which nothing counts at time t: Redis may have
// forgotten a row of such events before it was folded into again, and a read must not tell.
func (p *Program) forgotten(t int64) int64 {
	if p.retention == 0 {
		return 0
	}
	return t - p.retention
}

func readKept(packed []byte, t, newest, forgotten int64, targets []target, cells []featurestore.Cell) error {
	for i := range targets {
		o := &targets[i]
		cell := &cells[o.cell]
		read := o.agg.readKept
		if o.ring != nil {
			read = o.ring.read
		}
		if err := read(packed, &o.output, span{from: max(forgotten, o.output.window.Start(t)), to: t}, cell); err != nil {
			return err
		}
		cell.EventTime = newest
	}
	return nil
}

// fewColumns and fewWindows are room on the stack; only sections with more allocate.
const fewColumns, fewWindows = 24, 8

func readTiles(set *tileSet, packed []byte, t, newest int64, want *wanted, cells []featurestore.Cell) error {
	head, rest, err := set.open(packed)
	if err != nil {
		return err
	}
	var columnRoom [fewColumns]column
	all := columnRoom[:]
	if want.columns > len(all) {
		all = make([]column, want.columns)
	}
	for i := range want.columns {
		if size := narrowSize(rest, head.n); size > 0 { // as most are, without a call
			all[i].enc, all[i].data, rest = encoding(rest[0]), rest[1:size], rest[size:]
			continue
		}
		if all[i], rest, err = set.column(rest, head.n); err != nil {
			return err
		}
	}
	var firstRoom [fewWindows]int
	first := firstRoom[:]
	if len(want.windows) > len(first) {
		first = make([]int, len(want.windows))
	}
	for i := range want.windows {
		first[i] = head.since(set.index(want.windows[i].Start(t)))
	}
	for i := range want.targets {
		o := &want.targets[i]
		cell := &cells[o.cell]
		readTarget(o, all, first[o.window], head.n, cell)
		cell.EventTime = newest
	}
	return nil
}

// readTarget reads one output. The common aggregates are called by name: what is called through a variable would take the
// columns to the heap, or has to be given copies.
func readTarget(o *target, all []column, lo, n int, cell *featurestore.Cell) {
	at := o.columns
	switch o.agg {
	case &countAggregate:
		setInt(cell, all[at[0]].sumInts(lo, n))
	case &meanAggregate:
		readMean(o.typ, all, at, lo, n, cell)
	case &sumAggregate:
		readSum(o.typ, all, at, lo, n, cell)
	case &minAggregate:
		readExtreme(o.typ, &all[at[0]], &all[at[1]], lo, n, false, cell)
	case &maxAggregate:
		readExtreme(o.typ, &all[at[0]], &all[at[1]], lo, n, true, cell)
	default:
		var chosen columnSet
		for j, c := range at {
			chosen[j] = all[c]
		}
		o.agg.read(&o.output, chosen, lo, n, cell)
	}
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

// ReadTime is the time at which a row is read: now, or just after its newest event where
// the row holds one that is newer than the caller's clock. It is a row's own, so that one
// producer with a fast clock moves no windows but those of the entity that it tells of.
func ReadTime(now, newest int64) int64 { return max(now, newest+1) }
