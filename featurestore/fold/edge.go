package fold

import (
	"encoding/binary"
	"math"

	"github.com/onehop/onehop/featurestore"
)

// latestAggregate is the value of the newest event, firstAggregate that of the oldest; null
// if that is null. All features over the newest event share it, so their values stand
// together in one section of the row, in the order of the features; so do those over the
// oldest, and those over the newest or oldest that a filter passes.
var (
	latestAggregate = aggregate{
		windows: never,
		field:   required,
		result:  func(t featurestore.Type) (featurestore.Type, error) { return t, nil },
	}
	firstAggregate = latestAggregate
)

// edgeSpec is a section of values of one event.
type edgeSpec struct {
	oldest bool
	filter int // of the program, −1 for none
	values []edgeValue
}

// edgeValue is one value of such a section.
type edgeValue struct {
	field   int
	typ     featurestore.Type
	bound   bound
	feature *featurestore.Feature
}

// isNewest says that the section is of the row's newest event, whose position the row has
// already.
func (s *edgeSpec) isNewest() bool { return !s.oldest && s.filter < 0 }

// edge is such a section of a row being folded.
type edge struct {
	spec   *edgeSpec
	at     featurestore.Position // zero while there is no event; event times are positive
	values []featurestore.Value
}

func newEdge(spec *edgeSpec) *edge {
	return &edge{spec: spec, values: make([]featurestore.Value, len(spec.values))}
}

func (l *edge) reset() {
	l.at = featurestore.Position{}
	clear(l.values)
}

func (l *edge) fold(e *featurestore.Event) {
	if l.at.Time != 0 && (e.Compare(l.at) < 0) != l.spec.oldest {
		return
	}
	l.at = e.Position
	for i := range l.spec.values {
		l.values[i] = e.Values[l.spec.values[i].field].Clone()
	}
}

func (l *edge) append(dst []byte) []byte {
	if !l.spec.isNewest() {
		dst = appendPosition(dst, l.at)
	}
	return appendRun(dst, l.values)
}

// decode leaves the position of the row's newest event to the caller.
func (l *edge) decode(src []byte) (err error) {
	if !l.spec.isNewest() {
		if l.at, src, err = readPosition(src); err != nil {
			return err
		}
	}
	tags, src, err := openRun(src, len(l.values))
	if err != nil {
		return err
	}
	for i, v := range l.spec.values {
		if l.values[i], src, err = readBody(src, v.typ, tags.tag(i)); err != nil {
			return err
		}
	}
	return nil
}

// read reads the wanted ones of the packed values. places says, for each value of the
// section up to the last wanted one, which cell it goes to, or −1. newest is the time of
// the row's newest event, t the time of the read.
func (s *edgeSpec) read(packed []byte, places []int, newest, t int64, p *Program, cells []featurestore.Cell) error {
	at := newest
	if !s.isNewest() {
		position, rest, err := readPosition(packed)
		if err != nil {
			return err
		}
		at, packed = position.Time, rest
	}
	tags, packed, err := openRun(packed, len(s.values))
	if err != nil {
		return err
	}
	old := featurestore.Present // what becomes of values that are too old: of all alike, as they are of one event
	switch {
	case s.oldest || at == 0: // does not grow old, or is null already
	case at < p.forgotten(t):
		old, at = featurestore.Null, 0
	case at < p.expired(t):
		old = featurestore.Expired
	}
	for i, place := range places {
		if place < 0 {
			if packed, err = skipBody(packed, s.values[i].typ, tags.tag(i)); err != nil {
				return err
			}
			continue
		}
		cell, tag := &cells[place], tags.tag(i)
		if tag == tagFloat64 && s.values[i].typ == featurestore.Float64 && len(packed) >= 8 { // as readInto does, without calls
			setFloat(cell, math.Float64frombits(binary.LittleEndian.Uint64(packed)))
			packed = packed[8:]
		} else if packed, err = readInto(packed, s.values[i].typ, tag, cell); err != nil {
			return err
		}
		cell.EventTime = at
		if old != featurestore.Present {
			setNull(cell, old)
		}
	}
	return nil
}

// readInto reads the body of a value into a cell; numbers without a detour.
func readInto(src []byte, t featurestore.Type, tag tag, cell *featurestore.Cell) (rest []byte, err error) {
	switch {
	case tag == tagNull:
		setNull(cell, featurestore.Null)
		return src, nil
	case t == featurestore.Float64:
		f, rest, err := readFloat(src, tag)
		if err == nil {
			setFloat(cell, f)
		}
		return rest, err
	case t == featurestore.Int64:
		n, rest, err := readInt(src, tag)
		if err == nil {
			setInt(cell, n)
		}
		return rest, err
	}
	cell.Value, rest, err = readBody(src, t, tag)
	cell.Status = featurestore.Present
	return rest, err
}
