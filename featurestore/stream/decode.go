package stream

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/onehop/onehop/featurestore"
)

// Version is a source as it was defined from a moment on.
type Version struct {
	// From is the record timestamp, in microseconds, from which on it is in force.
	From   int64
	Source *featurestore.Source
}

// Decoder turns records into events by the definition in force at each record's
// timestamp. The values of an event stand in the order of the newest version's
// fields. It is not safe for concurrent use.
type Decoder struct {
	versions []decoderVersion // newest first
	fields   int
	json     *jsontext.Decoder
	body     bytes.Buffer
}

type decoderVersion struct {
	Version
	// index says, for each field of this version, where its value goes; −1 for a field
	// that a later version dropped.
	index map[string]fieldTarget
	count int // of required fields
}

type fieldTarget struct {
	field *featurestore.Field
	at    int
	bit   uint64 // of a required field
}

// NewDecoder makes a decoder for the versions of one source, oldest first.
func NewDecoder(versions []Version) *Decoder {
	newest := versions[len(versions)-1].Source
	d := &Decoder{fields: len(newest.Fields), json: jsontext.NewDecoder(&bytes.Buffer{})}
	for _, v := range versions {
		dv := decoderVersion{Version: v, index: map[string]fieldTarget{}}
		for i := range v.Source.Fields {
			f := &v.Source.Fields[i]
			t := fieldTarget{field: f, at: newest.Field(f.Name)}
			if f.Required {
				t.bit = 1 << dv.count
				dv.count++
			}
			dv.index[f.Name] = t
		}
		d.versions = append([]decoderVersion{dv}, d.versions...)
	}
	return d
}

// Decode decodes a record's value into an event whose Position but for the time the
// caller has set. Values share no memory with the record. An error is the reason for
// a dead letter.
func (d *Decoder) Decode(record []byte, event *featurestore.Event) error {
	if len(record) > featurestore.MaxEventBytes {
		return fmt.Errorf("the record has %d bytes; at most %d are allowed", len(record), featurestore.MaxEventBytes)
	}
	v := d.version(event.RecordTime)
	event.Values = make([]featurestore.Value, d.fields)
	event.Time = 0
	if err := d.object(v, record, event); err != nil {
		return err
	}
	if event.Time == 0 {
		return fmt.Errorf("field %q, the event time, is missing", v.Source.TimeField)
	}
	return v.Source.CheckTime(event.Time, event.RecordTime)
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

func (d *Decoder) object(v *decoderVersion, record []byte, event *featurestore.Event) error {
	d.body.Reset()
	d.body.Write(record)
	d.json.Reset(&d.body)
	if kind := d.json.PeekKind(); kind != '{' {
		if _, err := d.json.ReadToken(); err != nil {
			return malformed(err)
		}
		return errors.New("the record is not a JSON object")
	}
	if _, err := d.json.ReadToken(); err != nil {
		return malformed(err)
	}
	var seen uint64
	for d.json.PeekKind() != '}' {
		name, err := d.json.ReadToken()
		if err != nil {
			return malformed(err)
		}
		bit, err := d.member(v, name.String(), event)
		if err != nil {
			return err
		}
		seen |= bit
	}
	if _, err := d.json.ReadToken(); err != nil {
		return malformed(err)
	}
	if len(d.json.UnreadBuffer()) > 0 && len(bytes.TrimSpace(d.json.UnreadBuffer())) > 0 {
		return errors.New("the record has something after its JSON object")
	}
	if seen != 1<<v.count-1 {
		return missing(v, seen)
	}
	return nil
}

// member decodes one member of the object and returns the bit of a required field
// that has a value.
func (d *Decoder) member(v *decoderVersion, name string, event *featurestore.Event) (uint64, error) {
	target, known := v.index[name]
	isTime := name == v.Source.TimeField
	if !known && !isTime {
		if err := d.json.SkipValue(); err != nil {
			return 0, malformed(err)
		}
		return 0, nil
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return 0, malformed(err)
	}
	if isTime {
		if event.Time, err = parseTime(raw, v.Source.TimeUnit); err != nil {
			return 0, fmt.Errorf("field %q, the event time, %w", name, err)
		}
	}
	if !known {
		return 0, nil
	}
	value, err := parseValue(raw, target.field.Type)
	if err == nil {
		err = checkKey(value, target.field)
	}
	if err != nil {
		return 0, fmt.Errorf("field %q %w", name, err)
	}
	if target.at >= 0 {
		event.Values[target.at] = value
	}
	if value.IsNull() {
		return 0, nil
	}
	return target.bit, nil
}

func checkKey(v featurestore.Value, f *featurestore.Field) error {
	if f.KeyBytes == 0 || v.IsNull() {
		return nil
	}
	if n := len(v.Bytes); n == 0 || n > f.KeyBytes {
		return fmt.Errorf("is part of an entity's key and has %d bytes; it must have 1 to %d", n, f.KeyBytes)
	}
	return nil
}

func missing(v *decoderVersion, seen uint64) error {
	var names []string
	for i := range v.Source.Fields {
		if t := v.index[v.Source.Fields[i].Name]; t.bit != 0 && seen&t.bit == 0 {
			names = append(names, fmt.Sprintf("%q", t.field.Name))
		}
	}
	return fmt.Errorf("required field %s is missing or null", strings.Join(names, ", "))
}

func malformed(err error) error {
	return fmt.Errorf("the record is not valid JSON: %w", err)
}
