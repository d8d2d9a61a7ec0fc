package featurestore

import (
	"fmt"
	"time"
)

// The bounds of what a source accepts when its definition does not say.
const (
	DefaultMaxAge  = 7 * 24 * time.Hour
	DefaultMaxSkew = 5 * time.Minute
	// MaxEventBytes is the largest record that is decoded.
	MaxEventBytes = 1 << 20
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
	// Format of the records; "json".
	Format string
	// TimeField names the field that holds the event time, in TimeUnit. It is
	// not one of Fields.
	TimeField string
	TimeUnit  TimeUnit
	// MaxAge bounds how much older than its record an event may be, MaxSkew how
	// much newer.
	MaxAge, MaxSkew time.Duration
	Fields          []Field
}

// Field is one typed field of a source's events.
type Field struct {
	Name string
	Type Type
	// Required fields must be there and not null.
	Required bool
	// KeyBytes is, for a text field that is part of an entity's key, the most bytes
	// that it may have, and it may not be empty; 0 for other fields.
	KeyBytes int
}

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
	case eventTime <= 0:
		return fmt.Errorf("field %q: event time %d is not after 1970", s.TimeField, eventTime)
	case eventTime > recordTime+s.MaxSkew.Microseconds():
		return fmt.Errorf("field %q: event time %s is more than %s after the record's timestamp %s; is it written in %q?",
			s.TimeField, FormatTime(eventTime), s.MaxSkew, FormatTime(recordTime), s.TimeUnit)
	case eventTime < recordTime-s.MaxAge.Microseconds():
		return fmt.Errorf("field %q: event time %s is more than %s before the record's timestamp %s; is it written in %q?",
			s.TimeField, FormatTime(eventTime), s.MaxAge, FormatTime(recordTime), s.TimeUnit)
	}
	return nil
}

// FormatTime is a time in microseconds as RFC 3339 in UTC.
func FormatTime(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }
