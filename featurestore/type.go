package featurestore

import (
	"fmt"
	"slices"
	"strings"
)

// Type is the type of a field, a feature or a join key: one of five scalars or
// a list of one of them. The zero Type is invalid.
type Type uint8

// The scalar types. A list type is a scalar with the list bit, see [ListOf].
const (
	Int64 Type = iota + 1
	Float64
	String
	Bytes
	Bool

	listBit Type = 0x80
)

var typeNames = map[Type]string{
	Int64: "int64", Float64: "float64", String: "string", Bytes: "bytes", Bool: "bool",
}

// ListOf is the type of a list whose elements are of scalar type t.
func ListOf(t Type) Type { return t | listBit }

// IsList says whether t is a list.
func (t Type) IsList() bool { return t&listBit != 0 }

// Elem is the element type of a list, and t itself for a scalar.
func (t Type) Elem() Type { return t &^ listBit }

// IsNumber says whether t is a scalar that sums and means are defined on.
func (t Type) IsNumber() bool { return t == Int64 || t == Float64 }

// String is the type's name in definitions: "int64", "list<string>".
func (t Type) String() string {
	name, ok := typeNames[t.Elem()]
	switch {
	case !ok:
		return "invalid"
	case t.IsList():
		return "list<" + name + ">"
	default:
		return name
	}
}

// ParseType reads the name of a type as written in definitions.
func ParseType(name string) (Type, error) {
	elem, isList := strings.CutPrefix(name, "list<")
	if isList {
		elem = strings.TrimSuffix(elem, ">")
	}
	for t, n := range typeNames {
		if n != elem {
			continue
		}
		if isList {
			t = ListOf(t)
		}
		if t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("unknown type %q; the types are %s", name, strings.Join(TypeNames(), ", "))
}

// TypeNames lists the name of every type, scalars first.
func TypeNames() []string {
	var scalars, lists []string
	for t := range typeNames {
		scalars = append(scalars, t.String())
		lists = append(lists, ListOf(t).String())
	}
	slices.Sort(scalars)
	slices.Sort(lists)
	return append(scalars, lists...)
}
