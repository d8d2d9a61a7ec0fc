package history

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/training"
)

var errFormat = errors.New("a value is not in the format that was asked for")

// rowDecoder reads rows in Postgres's binary formats, which are those of copyReader: pgx
// could read them into boxed values, which took longer than folding them.
type rowDecoder struct {
	query *training.Query
	event featurestore.Event
}

func newRowDecoder(q *training.Query) *rowDecoder {
	return &rowDecoder{query: q, event: featurestore.Event{Values: make([]featurestore.Value, len(q.Source.Fields))}}
}

// eventColumns is the number of columns before the fields: the range and where an event is.
const eventColumns = 8

// decode reads a row. The event belongs to the caller until the next call, its texts alias
// the row.
func (d *rowDecoder) decode(row [][]byte) (r int, e *featurestore.Event, err error) {
	if len(row) != eventColumns+len(d.query.Fields) {
		return 0, nil, errFormat
	}
	for i, n := range [eventColumns]int{8, 8, 8, 4, 8, 4, 1, 4} {
		if len(row[i]) != n {
			return 0, nil, errFormat
		}
	}
	e = &d.event
	e.Time, e.RecordTime = int8Of(row[1])+postgresEpoch, int8Of(row[2])+postgresEpoch
	e.Partition, e.Offset, e.Index = int4Of(row[3]), int8Of(row[4]), int4Of(row[5])
	e.Delete, e.Topic = row[6][0] != 0, int4Of(row[7])
	for i, f := range d.query.Fields {
		if e.Values[f], err = valueOf(row[eventColumns+i], d.query.Source.Fields[f].Type); err != nil {
			return 0, nil, fmt.Errorf("field %q: %w", d.query.Source.Fields[f].Name, err)
		}
	}
	return int(int8Of(row[0])) - 1, e, nil
}

func int8Of(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }
func int4Of(b []byte) int32 { return int32(binary.BigEndian.Uint32(b)) }

// valueOf reads a value of a type; nil is null.
func valueOf(b []byte, t featurestore.Type) (v featurestore.Value, err error) {
	switch {
	case b == nil:
		return v, nil
	case t.IsList():
		return listOf(b, t.Elem())
	}
	switch t {
	case featurestore.Int64, featurestore.Float64:
		if len(b) != 8 {
			return v, errFormat
		}
		return featurestore.Value{Type: t, Num: binary.BigEndian.Uint64(b)}, nil
	case featurestore.Bool:
		if len(b) != 1 {
			return v, errFormat
		}
		return featurestore.BoolValue(b[0] != 0), nil
	default:
		return featurestore.Value{Type: t, Bytes: b}, nil
	}
}

// listOf reads an array; see appendArray.
func listOf(b []byte, elem featurestore.Type) (v featurestore.Value, err error) {
	const head = 12
	if len(b) < head {
		return v, errFormat
	}
	dimensions := int4Of(b)
	if dimensions == 0 {
		return featurestore.ListValue(elem, []featurestore.Value{}), nil
	}
	if dimensions != 1 || len(b) < head+8 {
		return v, errFormat
	}
	n := int(int4Of(b[head:]))
	b = b[head+8:]
	if n < 0 || n > len(b)/4 {
		return v, errFormat
	}
	list := make([]featurestore.Value, n)
	for i := range list {
		if len(b) < 4 {
			return v, errFormat
		}
		size := int(int4Of(b))
		b = b[4:]
		if size < 0 || size > len(b) {
			return v, errFormat
		}
		if list[i], err = valueOf(b[:size:size], elem); err != nil {
			return v, err
		}
		b = b[size:]
	}
	return featurestore.ListValue(elem, list), nil
}
