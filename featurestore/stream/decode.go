package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

// ErrBlocked means that a record cannot be decoded now, through no fault of its own: the
// schema registry does not answer, for example. It is to be tried again, and is never a
// reason for a dead letter.
var ErrBlocked = errors.New("records cannot be decoded now")

// Version is a source as it was defined from a moment on.
type Version struct {
	// From is the record timestamp, in microseconds, from which on it is in force.
	From   int64
	Source *featurestore.Source
}

// Versions lists the definitions that a source has had, oldest first, given all versions of
// its namespace.
func Versions(catalogs []*featurestore.Catalog, name string) (list []Version) {
	for _, c := range catalogs {
		if source := c.Source(name); source != nil {
			list = append(list, Version{From: c.EffectiveAt, Source: source})
		}
	}
	return list
}

// Decoder turns records into events by the definition in force at each record's
// timestamp. The values of an event stand in the order of the newest version's
// fields. It is not safe for concurrent use.
type Decoder struct {
	versions []decoderVersion // newest first
	fields   int
	slab     []featurestore.Value // room for the values of the next events
	record   draft
	elements []draft
}

type decoderVersion struct {
	*layout
	format format
}

// format reads the values of records in one format.
type format interface {
	// read reads what a layout wants of a value: into d.record, and what is read from
	// elements into one of d.newElement each.
	read(ctx context.Context, d *Decoder, value []byte) error
}

// NewDecoder makes a decoder for the versions of one source, oldest first. schemas may be
// nil where no format needs a schema registry.
func NewDecoder(versions []Version, schemas *Schemas) *Decoder {
	newest := versions[len(versions)-1].Source
	d := &Decoder{fields: len(newest.Fields)}
	for _, v := range versions {
		l := newLayout(v, newest)
		d.versions = append([]decoderVersion{{layout: l, format: newFormat(l, schemas)}}, d.versions...)
	}
	return d
}

func newFormat(l *layout, schemas *Schemas) format {
	switch l.Source.Format {
	case featurestore.Avro:
		return &avroFormat{layout: l, schemas: schemas}
	case featurestore.Protobuf:
		return newProtobuf(l, schemas)
	default:
		return newJSON(l)
	}
}

// Decode appends the events of a record: one, or where the source says so one for each
// element of an array, which may be none. Values share no memory with the record. On an
// error there are none: it is [ErrBlocked], or the reason for a dead letter.
func (d *Decoder) Decode(ctx context.Context, r *kgo.Record, events []featurestore.Event) ([]featurestore.Event, error) {
	if len(r.Value) > featurestore.MaxEventBytes {
		return events, TooLarge.because(fmt.Errorf("the record has %d bytes; at most %d are allowed", len(r.Value), featurestore.MaxEventBytes))
	}
	v := d.version(r.Timestamp.UnixMicro())
	if r.Value == nil && !v.Source.Deletes {
		return events, Tombstone.because(errors.New("the record has no value: it is a tombstone, and its source does not say \"tombstone: delete\""))
	}
	at, err := originalTime(r, v.Source)
	if err != nil {
		return events, err
	}
	d.record, d.elements = draft{values: d.newValues()}, d.elements[:0]
	if err := v.readAside(r, &d.record); err != nil {
		return events, err
	}
	if r.Value == nil {
		return v.tombstone(r, at, &d.record, events)
	}
	if err := v.format.read(ctx, d, r.Value); err != nil {
		return events, err
	}
	if !v.explodes {
		return v.finish(r, at, &d.record, 0, events)
	}
	defer func() { clear(d.elements) }() // a large record is not kept alive
	if err := v.checkExploded(&d.record, len(d.elements)); err != nil {
		return events, err
	}
	start := len(events)
	for i := range d.elements {
		var err error
		v.share(&d.record, &d.elements[i])
		if events, err = v.finish(r, at, &d.elements[i], i, events); err != nil {
			return events[:start], inElement(i, err)
		}
	}
	return events, nil
}

// checkExploded bounds what events share: each has a row of its own in history.
func (l *layout) checkExploded(record *draft, elements int) error {
	size := 0
	for _, at := range l.shared {
		size += record.values[at].TextBytes()
	}
	if size*elements > featurestore.MaxExplodedBytes {
		return TooLarge.because(fmt.Errorf("each of the %d elements of %q is an event with %d bytes that the record says once; together at most %d are allowed",
			elements, l.Source.Explode, size, featurestore.MaxExplodedBytes))
	}
	return nil
}

// slabValues is how many values are allocated together: those of the events of a batch then
// lie side by side, and are read in that order.
const slabValues = 4096

// newValues are the values of one event, all null.
func (d *Decoder) newValues() []featurestore.Value {
	if len(d.slab) < d.fields {
		d.slab = make([]featurestore.Value, max(d.fields, slabValues/d.fields*d.fields))
	}
	values := d.slab[:d.fields:d.fields]
	d.slab = d.slab[d.fields:]
	return values
}

// version is the definition in force at a record's timestamp; the first one for
// records that are older than it.
func (d *Decoder) version(recordTime int64) *decoderVersion {
	for i := range d.versions {
		if d.versions[i].From <= recordTime {
			return &d.versions[i]
		}
	}
	return &d.versions[len(d.versions)-1]
}

// newElement begins the event of the next element of a record's array.
func (d *Decoder) newElement() (*draft, error) {
	if len(d.elements) == featurestore.MaxElements {
		return nil, TooLarge.because(fmt.Errorf("the array to explode has more than %d elements", featurestore.MaxElements))
	}
	d.elements = append(d.elements, draft{values: d.newValues()})
	return &d.elements[len(d.elements)-1], nil
}

// finish checks an event of a record that was first written at a time, and appends it.
func (l *layout) finish(r *kgo.Record, at int64, e *draft, index int, events []featurestore.Event) ([]featurestore.Event, error) {
	for i := range l.defaults {
		if t := &l.defaults[i]; e.values[t.at].IsNull() {
			e.values[t.at] = *t.field.Default
		}
	}
	if e.seen != l.required {
		return events, Missing.because(fmt.Errorf("required field %s is missing or null", strings.Join(l.missing(e.seen), ", ")))
	}
	if l.Source.TimeRecord {
		e.time = at
	} else if e.time == 0 {
		return events, Missing.because(fmt.Errorf("field %q, the event time, is missing", l.Source.TimeName()))
	}
	if err := checkTime(l.Source, e.time, at); err != nil {
		return events, err
	}
	return append(events, featurestore.Event{
		Position:   featurestore.Position{Time: e.time, Partition: r.Partition, Offset: r.Offset, Index: int32(index)},
		RecordTime: r.Timestamp.UnixMicro(),
		Values:     e.values,
	}), nil
}

// tombstone appends the event by which an entity is forgotten. Its time is when the record
// was first written.
func (l *layout) tombstone(r *kgo.Record, at int64, e *draft, events []featurestore.Event) ([]featurestore.Event, error) {
	for i := range l.aside {
		t := &l.aside[i]
		switch {
		case !t.field.Key && t.at >= 0:
			e.values[t.at] = featurestore.Value{} // a header says nothing of what is deleted
		case t.field.Key && t.field.Required && e.seen&t.bit == 0:
			return events, Missing.because(fmt.Errorf("required field %s is missing or null", t.field))
		}
	}
	if at <= 0 {
		return events, TooOld.because(fmt.Errorf("the timestamp of the tombstone is %d: not after 1970", at))
	}
	return append(events, featurestore.Event{
		Position:   featurestore.Position{Time: at, Partition: r.Partition, Offset: r.Offset},
		Delete:     true,
		RecordTime: r.Timestamp.UnixMicro(),
		Values:     e.values,
	}), nil
}

// inElement says which element of the array an error is about. People count from 1; i, as
// [featurestore.Position.Index], from 0.
func inElement(i int, err error) error { return fmt.Errorf("element %d: %w", i+1, err) }

// inField says which field an error is about; err continues the sentence.
func (t *target) inField(l *layout, err error) error {
	if t.field == nil {
		return fmt.Errorf("field %q, the event time, %w", l.Source.TimeName(), err)
	}
	return fmt.Errorf("field %s %w", t.field, err)
}

// checkSize checks a value against the bounds of its field.
func checkSize(v featurestore.Value, f *featurestore.Field) error {
	if v.IsNull() {
		return nil
	}
	if n := len(v.Bytes); f.KeyBytes > 0 && (n == 0 || n > f.KeyBytes) {
		return BadKey.because(fmt.Errorf("is part of an entity's key and has %d bytes; it must have 1 to %d", n, f.KeyBytes))
	}
	if n := len(v.List); f.MaxElements > 0 && n > f.MaxElements {
		return TooLarge.because(fmt.Errorf("has %d elements; at most %d are accepted (max_elements)", n, f.MaxElements))
	}
	if f.MaxBytes == 0 {
		return nil
	}
	longest := len(v.Bytes)
	for i := range v.List {
		longest = max(longest, len(v.List[i].Bytes))
	}
	if longest > f.MaxBytes {
		return TooLarge.because(fmt.Errorf("has a text of %d bytes; at most %d are accepted (max_bytes)", longest, f.MaxBytes))
	}
	return nil
}
