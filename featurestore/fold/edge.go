package fold

import "github.com/onehop/onehop/featurestore"

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
	text    int // bytes at which text is counted
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
	for _, v := range l.values {
		dst = appendValue(dst, v)
	}
	return dst
}

// decode leaves the position of the row's newest event to the caller.
func (l *edge) decode(src []byte) (err error) {
	if !l.spec.isNewest() {
		if l.at, src, err = readPosition(src); err != nil {
			return err
		}
	}
	for i, v := range l.spec.values {
		if l.values[i], src, err = readValue(src, v.typ); err != nil {
			return err
		}
	}
	return nil
}

// read reads the wanted ones of the packed values. places says, for each value of the
// section up to the last wanted one, which cell it goes to, or −1. newest is the time of
// the row's newest event; expired is the event time before which a newest event is older
// than the TTL.
func (s *edgeSpec) read(packed []byte, places []int, newest, expired int64, cells []featurestore.Cell) error {
	at := newest
	if !s.isNewest() {
		position, rest, err := readPosition(packed)
		if err != nil {
			return err
		}
		at, packed = position.Time, rest
	}
	for i, place := range places {
		if place < 0 {
			rest, err := skipValue(packed, s.values[i].typ)
			if err != nil {
				return err
			}
			packed = rest
			continue
		}
		cell := &cells[place]
		rest, err := readInto(packed, s.values[i].typ, cell)
		if err != nil {
			return err
		}
		if at < expired && at != 0 && !s.oldest {
			setNull(cell, featurestore.Expired)
		}
		cell.EventTime, packed = at, rest
	}
	return nil
}

// skipValue passes over a packed value.
func skipValue(packed []byte, t featurestore.Type) (rest []byte, err error) {
	if !t.IsList() || len(packed) == 0 || packed[0] == tagNull {
		_, rest, err = readValue(packed, t)
		return rest, err
	}
	n, rest, err := uvarint(packed[1:])
	for i := uint64(0); err == nil && i < n; i++ {
		rest, err = skipValue(rest, t.Elem())
	}
	return rest, err
}

// readInto reads a packed value into a cell; numbers without a detour.
func readInto(packed []byte, t featurestore.Type, cell *featurestore.Cell) (rest []byte, err error) {
	if len(packed) == 0 {
		return nil, errTruncated
	}
	if packed[0] == tagNull {
		setNull(cell, featurestore.Null)
		return packed[1:], nil
	}
	switch t {
	case featurestore.Float64:
		f, rest, err := nextFloat(packed)
		if err == nil {
			setFloat(cell, f)
		}
		return rest, err
	case featurestore.Int64:
		c, rest, err := nextColumn(packed, 1)
		if err == nil {
			setInt(cell, c.int(0))
		}
		return rest, err
	}
	cell.Value, rest, err = readValue(packed, t)
	cell.Status = featurestore.Present
	return rest, err
}
