package featurestore

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The bounds of what a source accepts when its definition does not say.
const (
	DefaultMaxAge  = 7 * 24 * time.Hour
	DefaultMaxSkew = 5 * time.Minute
	// BatchMaxAge is the default of a batch source, whose rows may be years old: no event
	// after 1970 is too old.
	BatchMaxAge = 36_500 * 24 * time.Hour
	// MaxEventBytes is the largest record that is decoded.
	MaxEventBytes = 1 << 20
	// MaxElements is the most events that one record can hold, see Source.Explode.
	MaxElements = 10_000
	// MaxExplodedBytes bounds the text of all events of one record: what they share counts
	// in each of them.
	MaxExplodedBytes = 8 << 20
	// KeptBytes and KeptElements bound a text and a list of which rows keep values, where the
	// definition does not say.
	KeptBytes    = 256
	KeptElements = 32
)

// The formats of records.
const (
	JSON     = "json"
	Avro     = "avro"
	Protobuf = "protobuf"
)

// TimeUnit says how a source writes its event time.
type TimeUnit string

// The units of event times.
const (
	Seconds      TimeUnit = "s"
	Milliseconds TimeUnit = "ms"
	Microseconds TimeUnit = "us"
	RFC3339      TimeUnit = "rfc3339"
)

// Source is a Kafka topic whose records are events with typed fields.
type Source struct {
	Name  string
	Topic string
	// Format of the records: [JSON], [Avro] or [Protobuf].
	Format string
	// Batch says where the rows of a batch source come from, which onehop materialize writes
	// to Topic in JSON; nil for a topic that others write to.
	Batch *Batch `json:",omitempty"`
	// Message is the full name of the message in a protobuf record.
	Message string `json:",omitempty"`
	// DescriptorSet is a serialized FileDescriptorSet with Message and all that it
	// imports; records are then the plain bytes of a message. Without it they are in
	// the wire format of the schema registry.
	DescriptorSet []byte `json:",omitempty"`
	// TimeField names the member of the record that holds the event time, in TimeUnit.
	// It is not one of Fields. Or TimePath says where the event time is, as Field.Path
	// does, or TimeRecord that it is the record's timestamp.
	TimeField  string
	TimePath   string `json:",omitempty"`
	TimeRecord bool   `json:",omitempty"`
	// TimeUnit is empty where a type of the format says the unit, or the record is the
	// time.
	TimeUnit TimeUnit
	// Explode is the path of an array of which each element is an event; empty for
	// records that are one event each. Paths of fields that begin with it are read from
	// the element.
	Explode string `json:",omitempty"`
	// Deletes says that a record without a value makes the entity of its key be
	// forgotten; without it such records are refused.
	Deletes bool `json:",omitempty"`
	// MaxAge bounds how much older than its record an event may be, MaxSkew how
	// much newer.
	MaxAge, MaxSkew time.Duration
	// Retention is how long history keeps events at least, by event time; 0 is for ever.
	Retention time.Duration `json:",omitzero"`
	Fields    []Field
}

// Batch is where the rows of a batch source come from: exactly one of a table, a query and
// files. Their columns are named like the fields of the source and its event time.
type Batch struct {
	// Table is a table or view of Postgres: name, or schema.name, as Postgres has them.
	Table string `json:",omitempty"`
	// Query is one SELECT for Postgres.
	Query string `json:",omitempty"`
	// Files is a pattern of file names, see [path/filepath.Match]. A relative one is relative
	// to where onehop materialize is told that files are.
	Files string `json:",omitempty"`
}

// String says what it is, for messages.
func (b *Batch) String() string {
	switch {
	case b == nil:
		return ""
	case b.Table != "":
		return "table " + b.Table
	case b.Files != "":
		return "files " + b.Files
	default:
		return "query " + strings.Join(strings.Fields(b.Query), " ")
	}
}

// Field is one typed field of a source's events. It is the member of the record that
// has its name, or what Path, Key or Header say.
type Field struct {
	Name string
	Type Type
	// Path leads through nested records: names with dots between them.
	Path string `json:",omitempty"`
	// Key says that the field is the key of the Kafka record.
	Key bool `json:",omitempty"`
	// Header names the header of the Kafka record that holds the field.
	Header string `json:",omitempty"`
	// Required fields must be there and not null.
	Required bool
	// Default, if set, takes the place of a missing or null value.
	Default *Value `json:",omitempty"`
	// KeyBytes is, for a text field that is part of an entity's key, the most bytes
	// that it may have, and it may not be empty; 0 for other fields.
	KeyBytes int
	// MaxBytes is the most bytes that a text, or each text of a list, may have, and
	// MaxElements the most elements of a list; 0 is no bound of its own.
	MaxBytes    int `json:",omitzero"`
	MaxElements int `json:",omitzero"`
}

// Steps are the names that lead to the field in the record's value; nil for a field
// that is in the record's key or a header.
func (f *Field) Steps() []string {
	switch {
	case f.Key || f.Header != "":
		return nil
	case f.Path != "":
		return strings.Split(f.Path, ".")
	default:
		return []string{f.Name}
	}
}

// String is the field's name in quotes and where its value is, for messages.
func (f *Field) String() string {
	switch {
	case f.Key:
		return fmt.Sprintf("%q (the record's key)", f.Name)
	case f.Header != "":
		return fmt.Sprintf("%q (header %q)", f.Name, f.Header)
	case f.Path != "":
		return fmt.Sprintf("%q (at %s)", f.Name, f.Path)
	default:
		return fmt.Sprintf("%q", f.Name)
	}
}

// TimeSteps are the names that lead to the event time in the record's value; nil when
// it is the record's timestamp.
func (s *Source) TimeSteps() []string {
	switch {
	case s.TimeRecord:
		return nil
	case s.TimePath != "":
		return strings.Split(s.TimePath, ".")
	default:
		return []string{s.TimeField}
	}
}

// TimeName says where the event time is, for messages.
func (s *Source) TimeName() string { return strings.Join(s.TimeSteps(), ".") }

// Field is the index of the field called name, or -1.
func (s *Source) Field(name string) int {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// CheckTime says whether an event time is acceptable for a record with the given
// timestamp, both in microseconds. Acceptance depends on the record alone, never on
// the wall clock, so that a replay decides as the first run did.
func (s *Source) CheckTime(eventTime, recordTime int64) error {
	switch {
	case s.TimeRecord && eventTime <= 0:
		return fmt.Errorf("the record's timestamp, which is the event time, is %d: not after 1970", eventTime)
	case eventTime <= 0:
		return fmt.Errorf("field %q: event time %d is not after 1970", s.TimeName(), eventTime)
	case eventTime > recordTime+s.MaxSkew.Microseconds():
		return fmt.Errorf("field %q: event time %s is more than %s after the record's timestamp %s%s",
			s.TimeName(), FormatTime(eventTime), s.MaxSkew, FormatTime(recordTime), s.askUnit())
	case eventTime < recordTime-s.MaxAge.Microseconds():
		return fmt.Errorf("field %q: event time %s is more than %s before the record's timestamp %s%s",
			s.TimeName(), FormatTime(eventTime), s.MaxAge, FormatTime(recordTime), s.askUnit())
	}
	return nil
}

// askUnit is the end of a message about a time that cannot be.
func (s *Source) askUnit() string {
	if s.TimeUnit == "" {
		return ""
	}
	return fmt.Sprintf("; is it written in %q?", s.TimeUnit)
}

// ParseTime reads RFC 3339, whose letters may be small too, with a zone.
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Parse(time.RFC3339Nano, strings.ToUpper(text))
	}
	return t, nil
}

// FormatTime is a time in microseconds as RFC 3339 in UTC.
func FormatTime(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }

// OfElement says whether a path leads into the elements of the array to explode.
func (s *Source) OfElement(steps []string) bool {
	if s.Explode == "" {
		return false
	}
	into := strings.Split(s.Explode, ".")
	return len(steps) >= len(into) && slices.Equal(steps[:len(into)], into)
}

// Pushable says whether a record's value in JSON is all that an event needs, so that it
// can be pushed as a text. Those of a batch source are all Onehop's.
func (s *Source) Pushable() bool {
	return s.Format == JSON && s.Batch == nil && !slices.ContainsFunc(s.Fields, func(f Field) bool { return f.Key || f.Header != "" })
}
