package fold

import "github.com/onehop/onehop/featurestore"

// latestAggregate is the value of the newest event, null if that is null.
var latestAggregate = aggregate{
	windows: never,
	field:   required,
	result:  func(t featurestore.Type) (featurestore.Type, error) { return t, nil },
	keep: func(field, _ int, t featurestore.Type) kept {
		return &latest{field: field, typ: t}
	},
	keptBytes: func(_, value int) int { return value },
	readKept: func(packed []byte, t featurestore.Type, _ int64) (featurestore.Value, featurestore.Status, error) {
		v, _, err := readValue(packed, t)
		if v.IsNull() {
			return v, featurestore.Null, err
		}
		return v, featurestore.Present, err
	},
}

type latest struct {
	field int
	typ   featurestore.Type
	value featurestore.Value
}

func (l *latest) reset() { l.value = featurestore.Value{} }

func (l *latest) fold(e *featurestore.Event, newest bool) {
	if newest {
		l.value = e.Values[l.field].Clone()
	}
}

func (l *latest) append(dst []byte) []byte { return appendValue(dst, l.value) }

func (l *latest) decode(src []byte) (err error) {
	l.value, _, err = readValue(src, l.typ)
	return err
}
