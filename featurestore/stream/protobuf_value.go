package stream

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/descriptor"
)

// protobufValue is a value of a field, or of an element of it, as a type.
func protobufValue(field protoreflect.FieldDescriptor, value protoreflect.Value, t featurestore.Type) (featurestore.Value, error) {
	switch v := value.Interface().(type) {
	case bool:
		if t == featurestore.Bool {
			return featurestore.BoolValue(v), nil
		}
	case int32:
		return wholeValue(int64(v), t)
	case int64:
		return wholeValue(v, t)
	case uint32:
		return wholeValue(int64(v), t)
	case uint64:
		if v > math.MaxInt64 {
			return featurestore.Value{}, fmt.Errorf("is %d, which no int64 can hold", v)
		}
		return wholeValue(int64(v), t)
	case float32:
		if t == featurestore.Float64 {
			return floatValue(float64(v))
		}
	case float64:
		if t == featurestore.Float64 {
			return floatValue(v)
		}
	case string:
		if t == featurestore.String {
			return stringValue([]byte(v))
		}
	case []byte:
		if t == featurestore.Bytes {
			return featurestore.BytesValue(v), nil // of a message that is ours
		}
	case protoreflect.EnumNumber:
		if t == featurestore.String {
			return enumValue(field, v)
		}
	}
	return featurestore.Value{}, fmt.Errorf("is %s; %s is needed", protobufKind(field), t)
}

func enumValue(field protoreflect.FieldDescriptor, number protoreflect.EnumNumber) (featurestore.Value, error) {
	name := field.Enum().Values().ByNumber(number)
	if name == nil {
		return featurestore.Value{}, fmt.Errorf("is %d, which enum %s does not name: apply a newer descriptor set", number, field.Enum().FullName())
	}
	return featurestore.StringValue(string(name.Name())), nil
}

// protobufTime reads an event time: a Timestamp, or a number or text of the unit that the
// source declares.
func protobufTime(field protoreflect.FieldDescriptor, value protoreflect.Value, unit featurestore.TimeUnit) (int64, error) {
	if m := field.Message(); m != nil && !field.IsList() && !field.IsMap() && m.FullName() == descriptor.Timestamp {
		return stampTime(value.Message())
	}
	v, err := protobufValue(field, value, featurestore.Int64)
	if err == nil {
		return numberTime(v.Int(), unit)
	}
	if text, ok := value.Interface().(string); ok {
		return textTime(text, unit)
	}
	return 0, fmt.Errorf("is %s; a %s is needed, or a number or a text of its unit", protobufKind(field), descriptor.Timestamp)
}

func stampTime(m protoreflect.Message) (int64, error) {
	fields := m.Descriptor().Fields()
	seconds, nanos := fields.ByNumber(1), fields.ByNumber(2)
	if seconds == nil || nanos == nil || seconds.Kind() != protoreflect.Int64Kind || nanos.Kind() != protoreflect.Int32Kind {
		return 0, fmt.Errorf("is another %s than the known one", descriptor.Timestamp)
	}
	us, err := numberTime(m.Get(seconds).Int(), featurestore.Seconds)
	if n := m.Get(nanos).Int(); err == nil && n >= 0 && n < 1e9 {
		return us + n/1000, nil
	}
	return 0, errors.New("is no Timestamp after 1970")
}

func protobufKind(field protoreflect.FieldDescriptor) string {
	switch {
	case field.IsMap():
		return "a map"
	case field.IsList():
		return "a list of " + field.Kind().String()
	case field.Message() != nil:
		return "a message " + string(field.Message().FullName())
	default:
		return "of kind " + field.Kind().String()
	}
}
