package history

import (
	"encoding/binary"
	"io"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/onehop/onehop/featurestore"
)

// copyReader is a batch of events as the data of COPY … FROM STDIN BINARY, made while it is
// read. pgx could make it too, from values in boxes; that took as long as decoding the
// events.
//
// The format is that of Postgres's documentation, "COPY", "Binary Format": a signature, for
// each row the number of its fields and each field behind its length, big-endian, and −1 at
// the end.
type copyReader struct {
	encoder rowEncoder
	events  []featurestore.Event
	buffer  []byte
	at      int // what is read of buffer
	ended   bool
}

var (
	copySignature = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	copyEnd       = []byte{0xff, 0xff}
)

// copyChunk is how much is made at once.
const copyChunk = 64 << 10

// newCopyReader reads events into columns that begin with where they come from. buffer is
// memory to be used.
func newCopyReader(topic featurestore.TopicID, columns int, events []featurestore.Event, buffer []byte) *copyReader {
	return &copyReader{encoder: rowEncoder{topic: topic, columns: int16(columns)}, events: events, buffer: append(buffer[:0], copySignature...)}
}

// Read implements io.Reader.
func (c *copyReader) Read(p []byte) (int, error) {
	if c.at == len(c.buffer) {
		if c.ended {
			return 0, io.EOF
		}
		c.buffer, c.at = c.buffer[:0], 0
	}
	for len(c.buffer) < copyChunk && !c.ended {
		if len(c.events) == 0 {
			c.buffer, c.ended = append(c.buffer, copyEnd...), true
			break
		}
		c.buffer = c.encoder.append(c.buffer, &c.events[0])
		c.events = c.events[1:]
	}
	n := copy(p, c.buffer[c.at:])
	c.at += n
	return n, nil
}

// postgresEpoch is 2000-01-01 in microseconds since 1970, from which Postgres counts.
const postgresEpoch = 946_684_800_000_000

// rowEncoder makes rows of a topic's events, for a table with so many columns.
type rowEncoder struct {
	topic   featurestore.TopicID
	columns int16
}

func (c *rowEncoder) append(dst []byte, e *featurestore.Event) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(c.columns))
	dst = appendInt8(dst, e.Time-postgresEpoch)
	dst = appendInt8(dst, e.RecordTime-postgresEpoch)
	dst = append(appendLength(dst, len(c.topic)), c.topic[:]...)
	dst = appendInt4(dst, e.Partition)
	dst = appendInt8(dst, e.Offset)
	dst = appendInt4(dst, e.Index)
	dst = appendBool(dst, e.Delete)
	for i := range e.Values {
		dst = appendField(dst, &e.Values[i])
	}
	return dst
}

func appendLength(dst []byte, n int) []byte { return binary.BigEndian.AppendUint32(dst, uint32(n)) }

func appendInt8(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(appendLength(dst, 8), uint64(v))
}

func appendInt4(dst []byte, v int32) []byte {
	return binary.BigEndian.AppendUint32(appendLength(dst, 4), uint32(v))
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(appendLength(dst, 1), 1)
	}
	return append(appendLength(dst, 1), 0)
}

// appendField appends a value behind its length.
func appendField(dst []byte, v *featurestore.Value) []byte {
	switch {
	case v.IsNull():
		return binary.BigEndian.AppendUint32(dst, math.MaxUint32)
	case v.Type.IsList():
		return appendArray(dst, v)
	}
	switch v.Type {
	case featurestore.Int64, featurestore.Float64:
		return appendInt8(dst, v.Int())
	case featurestore.Bool:
		return appendBool(dst, v.Bool())
	default:
		return append(appendLength(dst, len(v.Bytes)), v.Bytes...)
	}
}

var elementOIDs = map[featurestore.Type]uint32{
	featurestore.Int64: pgtype.Int8OID, featurestore.Float64: pgtype.Float8OID, featurestore.String: pgtype.TextOID,
	featurestore.Bytes: pgtype.ByteaOID, featurestore.Bool: pgtype.BoolOID,
}

// appendArray appends an array: the number of its dimensions, whether it has nulls, the type
// of its elements, for each dimension the length and the first index, and the elements.
func appendArray(dst []byte, v *featurestore.Value) []byte {
	start := len(dst)
	dst = appendLength(dst, 0) // filled in below
	dimensions := min(len(v.List), 1)
	for _, n := range []uint32{uint32(dimensions), 0, elementOIDs[v.Type.Elem()]} {
		dst = binary.BigEndian.AppendUint32(dst, n)
	}
	if dimensions > 0 {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v.List)))
		dst = binary.BigEndian.AppendUint32(dst, 1)
	}
	for i := range v.List {
		dst = appendField(dst, &v.List[i])
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// copyStatement is the statement that reads from a copyReader.
func copyStatement(table pgx.Identifier, columns []string) string {
	list := make([]string, len(columns))
	for i, column := range columns {
		list[i] = pgx.Identifier{column}.Sanitize()
	}
	return "COPY " + table.Sanitize() + " (" + strings.Join(list, ", ") + ") FROM STDIN BINARY"
}
