package stream

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/twmb/avro"

	"github.com/onehop/onehop/featurestore"
)

// stamp is a value of one of Avro's timestamp types: the number that was written, and
// what it is in microseconds.
type stamp struct{ written, us int64 }

// avroOptions make the decoder hand out numbers and bytes as they were written, where it
// would make times and rationals of them, and timestamps with their unit.
var avroOptions = func() (options []avro.SchemaOpt) {
	stamps := map[string]time.Duration{
		"timestamp-millis": time.Millisecond, "timestamp-micros": time.Microsecond, "timestamp-nanos": time.Nanosecond,
	}
	for name, unit := range stamps {
		decode := func(v any, _ *avro.SchemaNode) (any, error) {
			written, ok := v.(int64)
			if !ok {
				return v, nil
			}
			us, err := micros(written, unit)
			if err != nil { // told if the field is the event time
				us = 0
			}
			return stamp{written, us}, nil
		}
		options = append(options, avro.WithCustomType(avro.CustomType{LogicalType: name, Decode: decode}))
	}
	for _, name := range []string{
		"date", "time-millis", "time-micros", "local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos",
		"decimal", "big-decimal", "duration", "uuid",
	} {
		options = append(options, avro.WithCustomType(avro.CustomType{LogicalType: name}))
	}
	return options
}()

// micros is a number of units in microseconds.
func micros(n int64, unit time.Duration) (int64, error) {
	if unit < time.Microsecond {
		return n / int64(time.Microsecond/unit), nil
	}
	scale := int64(unit / time.Microsecond)
	if n > math.MaxInt64/2/scale || n < math.MinInt64/2/scale {
		return 0, fmt.Errorf("is %d × %s, which is no time", n, unit)
	}
	return n * scale, nil
}

// avroValue is a decoded value, which is not null, as a type.
func avroValue(v any, t featurestore.Type) (featurestore.Value, error) {
	if t.IsList() {
		return avroList(v, t)
	}
	switch v := v.(type) {
	case int32:
		return wholeValue(int64(v), t)
	case int64:
		return wholeValue(v, t)
	case stamp:
		return wholeValue(v.written, t)
	case float32:
		if t == featurestore.Float64 {
			return floatValue(float64(v))
		}
	case float64:
		if t == featurestore.Float64 {
			return floatValue(v)
		}
	case bool:
		if t == featurestore.Bool {
			return featurestore.BoolValue(v), nil
		}
	case string: // text, or a symbol of an enum
		if t == featurestore.String {
			return stringValue([]byte(v))
		}
	case []byte:
		if t == featurestore.Bytes {
			return featurestore.BytesValue(bytes.Clone(v)), nil
		}
	}
	return featurestore.Value{}, fmt.Errorf("is %s; %s is needed", avroKind(v), t)
}

// wholeValue is a whole number as an int64, or as a float64 that is the same number.
func wholeValue(v int64, t featurestore.Type) (featurestore.Value, error) {
	switch {
	case t == featurestore.Int64:
		return featurestore.IntValue(v), nil
	case t == featurestore.Float64 && v >= -1<<53 && v <= 1<<53:
		return featurestore.FloatValue(float64(v)), nil
	}
	return featurestore.Value{}, fmt.Errorf("is the whole number %d; %s is needed", v, t)
}

func avroList(v any, t featurestore.Type) (featurestore.Value, error) {
	elements, ok := v.([]any)
	if !ok {
		return featurestore.Value{}, fmt.Errorf("is %s; %s is needed", avroKind(v), t)
	}
	list := make([]featurestore.Value, len(elements))
	for i, element := range elements {
		var err error
		if element == nil {
			return featurestore.Value{}, fmt.Errorf("element %d is null; lists hold no nulls", i+1)
		}
		if list[i], err = avroValue(element, t.Elem()); err != nil {
			return featurestore.Value{}, fmt.Errorf("element %d %w", i+1, err)
		}
	}
	return featurestore.ListValue(t.Elem(), list), nil
}

// avroTime reads an event time: a timestamp by its type, or a number or text of the unit
// that the source declares.
func avroTime(v any, unit featurestore.TimeUnit) (int64, error) {
	switch v := v.(type) {
	case stamp:
		if v.us <= 0 {
			return 0, fmt.Errorf("is %d, which is no time after 1970", v.written)
		}
		return v.us, nil
	case int32:
		return numberTime(int64(v), unit)
	case int64:
		return numberTime(v, unit)
	case string:
		return textTime(v, unit)
	}
	return 0, fmt.Errorf("is %s; a timestamp is needed, or a number or a text of its unit", avroKind(v))
}

func avroKind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int32, int64:
		return "a whole number"
	case float32, float64:
		return "a float or double"
	case stamp:
		return "a timestamp"
	case string:
		return "a string or an enum"
	case []byte:
		return "bytes"
	case []any:
		return "an array"
	case map[string]any:
		return "a record or a map"
	default:
		return fmt.Sprintf("of an unknown type (%T)", v)
	}
}
