package query

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// column is how a type of Postgres is read.
type column struct {
	arrow arrow.DataType
	// add appends a value that is not null, in the format of formats.
	add func(b array.Builder, raw []byte) error
}

var (
	errFormat   = errors.New("a value is not in the format that was asked for")
	errInfinity = errors.New("infinity is no moment: leave such rows out, or replace it")
)

// formats are binary where that is read here, else text.
var formats = pgx.QueryResultFormatsByOID{}

func init() { //nolint:gochecknoinits // the table says which formats there are
	for oid := range columns {
		if oid != pgtype.NumericOID {
			formats[oid] = pgx.BinaryFormatCode
		}
	}
}

var columns = map[uint32]column{
	pgtype.Int2OID:        {arrow.PrimitiveTypes.Int64, integer},
	pgtype.Int4OID:        {arrow.PrimitiveTypes.Int64, integer},
	pgtype.Int8OID:        {arrow.PrimitiveTypes.Int64, integer},
	pgtype.Float4OID:      {arrow.PrimitiveTypes.Float64, float},
	pgtype.Float8OID:      {arrow.PrimitiveTypes.Float64, float},
	pgtype.NumericOID:     {arrow.PrimitiveTypes.Float64, decimal},
	pgtype.BoolOID:        {arrow.FixedWidthTypes.Boolean, boolean},
	pgtype.ByteaOID:       {arrow.BinaryTypes.Binary, raw},
	pgtype.TimestamptzOID: {&arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, moment},
	pgtype.TimestampOID:   {&arrow.TimestampType{Unit: arrow.Microsecond}, moment},
}

func columnOf(oid uint32) column {
	if c, ok := columns[oid]; ok {
		return c
	}
	return column{arrow.BinaryTypes.String, text}
}

func integer(b array.Builder, raw []byte) error {
	to, ok := b.(*array.Int64Builder)
	switch {
	case ok && len(raw) == 2:
		to.Append(int64(int16(binary.BigEndian.Uint16(raw))))
	case ok && len(raw) == 4:
		to.Append(int64(int32(binary.BigEndian.Uint32(raw))))
	case ok && len(raw) == 8:
		to.Append(int64(binary.BigEndian.Uint64(raw)))
	default:
		return errFormat
	}
	return nil
}

func float(b array.Builder, raw []byte) error {
	to, ok := b.(*array.Float64Builder)
	switch {
	case ok && len(raw) == 4:
		to.Append(float64(math.Float32frombits(binary.BigEndian.Uint32(raw))))
	case ok && len(raw) == 8:
		to.Append(math.Float64frombits(binary.BigEndian.Uint64(raw)))
	default:
		return errFormat
	}
	return nil
}

func decimal(b array.Builder, raw []byte) error {
	to, ok := b.(*array.Float64Builder)
	x, err := strconv.ParseFloat(string(raw), 64)
	if !ok || err != nil && !errors.Is(err, strconv.ErrRange) { // out of range is infinite
		return errFormat
	}
	to.Append(x)
	return nil
}

func boolean(b array.Builder, raw []byte) error {
	to, ok := b.(*array.BooleanBuilder)
	if !ok || len(raw) != 1 {
		return errFormat
	}
	to.Append(raw[0] != 0)
	return nil
}

func raw(b array.Builder, raw []byte) error {
	to, ok := b.(*array.BinaryBuilder)
	if !ok {
		return errFormat
	}
	to.Append(raw)
	return nil
}

func text(b array.Builder, raw []byte) error {
	to, ok := b.(*array.StringBuilder)
	if !ok {
		return errFormat
	}
	to.BinaryBuilder.Append(raw)
	return nil
}

// epoch is Postgres's, in microseconds since 1970.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func moment(b array.Builder, raw []byte) error {
	to, ok := b.(*array.TimestampBuilder)
	if !ok || len(raw) != 8 {
		return errFormat
	}
	us := int64(binary.BigEndian.Uint64(raw))
	if us == math.MaxInt64 || us == math.MinInt64 {
		return errInfinity
	}
	to.Append(arrow.Timestamp(us + epoch))
	return nil
}
