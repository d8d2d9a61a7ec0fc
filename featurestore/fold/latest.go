package fold

import "github.com/onehop/onehop/featurestore"

// latestAggregate is the value of the newest event, null if that is null. All features of
// a view share the newest event, so their latest values stand together in one section of
// the row, in the order of the features.
var latestAggregate = aggregate{
	windows: never,
	field:   required,
	result:  func(t featurestore.Type) (featurestore.Type, error) { return t, nil },
}

// latestSpec is one value of the section of latest values.
type latestSpec struct {
	field   int
	typ     featurestore.Type
	text    int // bytes at which text is counted
	feature *featurestore.Feature
}

// latest is the section of latest values of a row being folded.
type latest struct {
	specs  []latestSpec
	values []featurestore.Value
}

func newLatest(specs []latestSpec) *latest {
	return &latest{specs: specs, values: make([]featurestore.Value, len(specs))}
}

func (l *latest) reset() { clear(l.values) }

func (l *latest) fold(e *featurestore.Event, newest bool) {
	if !newest {
		return
	}
	for i, s := range l.specs {
		l.values[i] = e.Values[s.field].Clone()
	}
}

func (l *latest) append(dst []byte) []byte {
	for _, v := range l.values {
		dst = appendValue(dst, v)
	}
	return dst
}

func (l *latest) decode(src []byte) (err error) {
	for i, s := range l.specs {
		if l.values[i], src, err = readValue(src, s.typ); err != nil {
			return err
		}
	}
	return nil
}

// readLatest reads the wanted ones of the latest values. places says, for each value of
// the section up to the last wanted one, which cell it goes to, or −1.
func readLatest(packed []byte, specs []latestSpec, places []int, newest int64, cells []featurestore.Cell) error {
	for i, place := range places {
		if place < 0 {
			rest, err := skipValue(packed, specs[i].typ)
			if err != nil {
				return err
			}
			packed = rest
			continue
		}
		cell := &cells[place]
		rest, err := readInto(packed, specs[i].typ, cell)
		if err != nil {
			return err
		}
		cell.EventTime, packed = newest, rest
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
		c, rest, err := nextColumn(packed, 1)
		if err == nil {
			setFloat(cell, c.float(0))
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
