package featurestore

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Value is one typed value, or null. The zero Value is null.
//
// Bytes and List may alias the memory that they were decoded from; whoever
// keeps a Value longer than that memory must [Value.Clone] it.
type Value struct {
	// Type is the value's type; 0 means null.
	Type Type
	// Num holds an int64, the bits of a float64, or 0 and 1 for a bool.
	Num uint64
	// Bytes holds a string or bytes.
	Bytes []byte
	// List holds the elements of a list; none of them is null.
	List []Value
}

// IntValue is an int64 value.
func IntValue(v int64) Value { return Value{Type: Int64, Num: uint64(v)} }

// FloatValue is a float64 value.
func FloatValue(v float64) Value { return Value{Type: Float64, Num: math.Float64bits(v)} }

// BoolValue is a bool value.
func BoolValue(v bool) Value {
	if v {
		return Value{Type: Bool, Num: 1}
	}
	return Value{Type: Bool}
}

// StringValue is a string value.
func StringValue(v string) Value { return Value{Type: String, Bytes: []byte(v)} }

// BytesValue is a bytes value that aliases v.
func BytesValue(v []byte) Value { return Value{Type: Bytes, Bytes: v} }

// ListValue is a list of elements of type elem; it owns list.
func ListValue(elem Type, list []Value) Value { return Value{Type: ListOf(elem), List: list} }

// IsNull says whether v is null.
func (v Value) IsNull() bool { return v.Type == 0 }

// Int is the int64 in v.
func (v Value) Int() int64 { return int64(v.Num) }

// Float is the float64 in v.
func (v Value) Float() float64 { return math.Float64frombits(v.Num) }

// Bool is the bool in v.
func (v Value) Bool() bool { return v.Num != 0 }

// Number is v as a float64 for a model's input: int64 converted, bool as 0 or
// 1; ok is false for every other type and for null.
func (v Value) Number() (f float64, ok bool) {
	switch v.Type {
	case Float64:
		return v.Float(), true
	case Int64:
		return float64(v.Int()), true
	case Bool:
		return float64(v.Num), true
	default:
		return 0, false
	}
}

// Clone is a copy of v that shares no memory with it.
func (v Value) Clone() Value {
	v.Bytes = bytes.Clone(v.Bytes)
	if v.List != nil {
		list := make([]Value, len(v.List))
		for i := range v.List {
			list[i] = v.List[i].Clone()
		}
		v.List = list
	}
	return v
}

// TextBytes is how many bytes of text the value has, in all its elements.
func (v Value) TextBytes() int {
	n := len(v.Bytes)
	for i := range v.List {
		n += len(v.List[i].Bytes)
	}
	return n
}

// Equal says whether two values are of the same type and content; floats are
// compared by their bits.
func (v Value) Equal(w Value) bool {
	if v.Type != w.Type || v.Num != w.Num || !bytes.Equal(v.Bytes, w.Bytes) || len(v.List) != len(w.List) {
		return false
	}
	for i := range v.List {
		if !v.List[i].Equal(w.List[i]) {
			return false
		}
	}
	return true
}

// String is v for a person: null, 42, 3.5, "text", 0x6162, [1 2].
func (v Value) String() string {
	switch {
	case v.IsNull():
		return "null"
	case v.Type.IsList():
		parts := make([]string, len(v.List))
		for i := range v.List {
			parts[i] = v.List[i].String()
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	switch v.Type {
	case Int64:
		return strconv.FormatInt(v.Int(), 10)
	case Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case Bool:
		return strconv.FormatBool(v.Bool())
	case String:
		return strconv.Quote(string(v.Bytes))
	default:
		return fmt.Sprintf("0x%x", v.Bytes)
	}
}

// Status says what a served value is worth.
type Status uint8

// The statuses. The numbers are those of the protobuf enum onehop.v1.Status.
const (
	// StatusUnknown is the zero Status; no served value has it.
	StatusUnknown Status = iota
	// Present values were computed from events.
	Present
	// Null values are null because the newest event says so, or because no
	// event in the window has the field.
	Null
	// NotFound means that nothing is known of the entity.
	NotFound
	// Expired means that the newest event is older than the view's TTL.
	Expired
	// Defaulted values were missing and replaced by the caller's or the model's default.
	Defaulted
	// Stale values come from a copy, or a store, that may lack recent events.
	Stale
	// Overflow means that the true value does not fit its type or its bound.
	Overflow
	// Filling means that nothing is known yet: the store is being filled, and what it has
	// gives no value.
	Filling
	// Statuses is how many there are.
	Statuses = iota
)

var statusNames = [...]string{
	"UNKNOWN", "PRESENT", "NULL", "NOT_FOUND", "EXPIRED", "DEFAULTED", "STALE", "OVERFLOW", "FILLING",
}

// String is the status as the API spells it.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "Status(" + strconv.Itoa(int(s)) + ")"
}

// ParseStatus reads a status as [Status.String] writes it.
func ParseStatus(s string) (Status, error) {
	if i := slices.Index(statusNames[:], s); i >= 0 {
		return Status(i), nil
	}
	return StatusUnknown, fmt.Errorf("%q is no status", s)
}

// Cell is one served value: what a read at a time returns for one column.
type Cell struct {
	Value  Value
	Status Status
	// EventTime is the time of the newest event folded into the value, in
	// microseconds; 0 where there was no row.
	EventTime int64
}

// MarkFilling marks cells that were read while the store was being filled: a value may lack
// events, and what has none may get one.
func MarkFilling(cells []Cell) {
	for i := range cells {
		if cells[i].Value.IsNull() {
			cells[i].Status = Filling
		} else {
			cells[i].Status = Stale
		}
	}
}
