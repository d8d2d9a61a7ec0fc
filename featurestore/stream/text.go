package stream

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

// readAside reads the fields that are in the record's key and headers.
func (l *layout) readAside(r *kgo.Record, into *draft) error {
	for i := range l.aside {
		t := &l.aside[i]
		raw := r.Key
		if !t.field.Key {
			raw = header(r, t.field.Header)
		}
		if raw == nil {
			continue
		}
		value, err := textValue(raw, t.field.Type)
		if err == nil {
			err = checkSize(value, t.field)
		}
		if err != nil {
			kind := BadHeader
			switch {
			case KindOf(err) == TooLarge:
				kind = TooLarge
			case t.field.Key:
				kind = BadKey
			}
			return kind.because(t.inField(l, err))
		}
		into.set(t, value)
	}
	return nil
}

// header is the value of the newest header of a name, which stands last; nil if there
// is none.
func header(r *kgo.Record, name string) []byte {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return r.Headers[i].Value
		}
	}
	return nil
}

// textValue reads bytes as a type: text and bytes as they are, the others in decimal.
func textValue(raw []byte, t featurestore.Type) (featurestore.Value, error) {
	switch t {
	case featurestore.String:
		return stringValue(bytes.Clone(raw))
	case featurestore.Bytes:
		return featurestore.BytesValue(bytes.Clone(raw)), nil
	case featurestore.Int64:
		// Only the shortest form: 7 and 007 would be one entity and two keys, in two partitions.
		var short [20]byte
		if v, err := strconv.ParseInt(string(raw), 10, 64); err == nil && bytes.Equal(strconv.AppendInt(short[:0], v, 10), raw) {
			return featurestore.IntValue(v), nil
		}
	case featurestore.Float64:
		// The digits, signs and exponents of decimals: ParseFloat also takes hexadecimals.
		if v, err := strconv.ParseFloat(string(raw), 64); err == nil && decimal(raw) {
			return floatValue(v)
		}
	case featurestore.Bool:
		if s := string(raw); s == "true" || s == "false" {
			return featurestore.BoolValue(s == "true"), nil
		}
	}
	form := t.String() + " as text"
	if _, err := strconv.ParseInt(string(raw), 10, 64); t == featurestore.Int64 && err == nil {
		form = "an int64 without zeros or a plus in front"
	}
	return featurestore.Value{}, fmt.Errorf("is %s; %s is needed", shorten(strconv.Quote(string(raw)), 60), form)
}

// decimal says whether a number is written with digits, signs, a point and an exponent only.
func decimal(raw []byte) bool {
	for _, c := range raw {
		if (c < '0' || c > '9') && c != '+' && c != '-' && c != '.' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}

var errNUL = errors.New("holds a NUL character, which history cannot keep")

// stringValue is a string value that owns text.
func stringValue(text []byte) (featurestore.Value, error) {
	switch {
	case bytes.IndexByte(text, 0) >= 0:
		return featurestore.Value{}, errNUL
	case !utf8.Valid(text):
		return featurestore.Value{}, errors.New("is not valid UTF-8")
	}
	return featurestore.Value{Type: featurestore.String, Bytes: text}, nil
}

// floatValue is a float value. What JSON cannot say no format can: one NaN would make
// every sum of its window NaN.
func floatValue(v float64) (featurestore.Value, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return featurestore.Value{}, fmt.Errorf("is %v; a finite number is needed", v)
	}
	return featurestore.FloatValue(v), nil
}

// numberTime is a number of units since 1970 in microseconds.
func numberTime(n int64, unit featurestore.TimeUnit) (int64, error) {
	var scale int64
	switch unit {
	case featurestore.Seconds:
		scale = 1e6
	case featurestore.Milliseconds:
		scale = 1e3
	case featurestore.Microseconds:
		scale = 1
	default:
		return 0, fmt.Errorf("is a number that does not say its unit; the source's event time declares %s", unitName(unit))
	}
	if n <= 0 || n > math.MaxInt64/2/scale {
		return 0, fmt.Errorf("is %d %s, which is no time after 1970", n, unit)
	}
	return n * scale, nil
}

// textTime is a time written as text in microseconds.
func textTime(text string, unit featurestore.TimeUnit) (int64, error) {
	if unit != featurestore.RFC3339 {
		return 0, fmt.Errorf("is text; the source's event time declares %s", unitName(unit))
	}
	t, err := featurestore.ParseTime(text)
	if err != nil {
		return 0, fmt.Errorf("is %q; a time such as \"2026-01-02T15:04:05Z\" is needed", shorten(text, 60))
	}
	if us := t.UnixMicro(); us > 0 {
		return us, nil
	}
	return 0, fmt.Errorf("is %q, which is no time after 1970", shorten(text, 60))
}

func unitName(unit featurestore.TimeUnit) string {
	if unit == "" {
		return "no unit"
	}
	return fmt.Sprintf("unit %q", unit)
}
