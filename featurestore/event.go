package featurestore

import (
	"cmp"
	"encoding/hex"
)

// TopicID is Kafka's id of a topic. A topic that is deleted and made again has
// another id, and so another space of offsets.
type TopicID [16]byte

// String is the id in hexadecimal.
func (id TopicID) String() string { return hex.EncodeToString(id[:]) }

// Position is an event's place in the total order in which ties are broken: event
// time, partition, offset, index within the record.
type Position struct {
	Time      int64
	Partition int32
	Offset    int64
	Index     int32 // from 0
}

// Compare orders positions: negative when p is before q.
func (p Position) Compare(q Position) int {
	return cmp.Or(
		cmp.Compare(p.Time, q.Time),
		cmp.Compare(p.Partition, q.Partition),
		cmp.Compare(p.Offset, q.Offset),
		cmp.Compare(p.Index, q.Index),
	)
}

// Clone is a copy of e that shares no memory with it.
func (e *Event) Clone() Event {
	clone := *e
	clone.Values = make([]Value, len(e.Values))
	for i := range e.Values {
		clone.Values[i] = e.Values[i].Clone()
	}
	return clone
}

// CompareLog orders events as they stand in the log: by partition, topic, offset and index.
func (e *Event) CompareLog(f *Event) int {
	return cmp.Or(
		cmp.Compare(e.Partition, f.Partition),
		cmp.Compare(e.Topic, f.Topic),
		cmp.Compare(e.Offset, f.Offset),
		cmp.Compare(e.Index, f.Index),
	)
}

// Event is one accepted event of a source, decoded and typed: a record, or one element
// of a record.
type Event struct {
	Position
	// Delete says that all that is known of the entity is to be forgotten. Of Values only
	// those in the record's key are set.
	Delete bool
	// RecordTime is the Kafka record's timestamp, in microseconds.
	RecordTime int64
	// Topic counts, from 0, the topics of the source's name, of which each may have been
	// deleted and made again: their offsets are apart. Only history sets it.
	Topic int32
	// Values holds the source's fields in declared order; a missing or null
	// field is a null Value. Bytes in it may alias the record.
	Values []Value
}
