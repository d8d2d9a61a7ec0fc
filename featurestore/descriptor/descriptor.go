// Package descriptor finds the fields of a source in the descriptors of protobuf
// messages. It is pure: no I/O, no global registry.
package descriptor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/onehop/onehop/featurestore"
)

// Message is the descriptor of a message.
type Message = protoreflect.MessageDescriptor

// Timestamp is the full name of the message that is a time by its type.
const Timestamp protoreflect.FullName = "google.protobuf.Timestamp"

// Parse finds a message in a serialized FileDescriptorSet, which must hold all that the
// message's file imports.
func Parse(set []byte, message string) (m Message, err error) {
	var files descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &files); err != nil {
		return nil, errors.New("it is not a FileDescriptorSet: write one with buf build -o, or protoc --include_imports -o")
	}
	known, err := protodesc.NewFiles(&files)
	if err != nil {
		return nil, fmt.Errorf("it is not complete: %w", err)
	}
	found, err := known.FindDescriptorByName(protoreflect.FullName(message))
	if err != nil {
		return nil, fmt.Errorf("it has no message %q", message)
	}
	m, ok := found.(Message)
	if !ok {
		return nil, fmt.Errorf("%q in it is no message", message)
	}
	return m, nil
}

// CheckField says why a field of a source cannot be read from a message.
func CheckField(m Message, source *featurestore.Source, f *featurestore.Field) error {
	steps := f.Steps()
	if steps == nil {
		return nil
	}
	at, element, err := find(m, source, steps)
	if err != nil {
		return err
	}
	return fits(at, element, f.Type)
}

// CheckExplode says why a source's array is not one of a message.
func CheckExplode(m Message, source *featurestore.Source) error {
	if source.Explode == "" {
		return nil
	}
	_, _, err := find(m, source, strings.Split(source.Explode, "."))
	return err
}

// CheckTime says why the event time cannot be read from a message.
func CheckTime(m Message, source *featurestore.Source) error {
	steps := source.TimeSteps()
	if steps == nil {
		return nil
	}
	at, element, err := find(m, source, steps)
	if err != nil {
		return err
	}
	isStamp := at.Message() != nil && at.Message().FullName() == Timestamp
	isNumber := fits(at, element, featurestore.Int64) == nil
	isText := at.Kind() == protoreflect.StringKind
	switch {
	case at.IsList() && !element:
		return fmt.Errorf("%s is repeated", at.FullName())
	case isStamp:
		return nil
	case source.TimeUnit == "" && (isNumber || isText):
		return fmt.Errorf("%s is %s, which does not say its unit: add \"unit\"", at.FullName(), kind(at))
	case source.TimeUnit == featurestore.RFC3339 && isText, source.TimeUnit != featurestore.RFC3339 && isNumber:
		return nil
	}
	return fmt.Errorf("%s is %s; a %s is needed, or a number or a text of the unit", at.FullName(), kind(at), Timestamp)
}

// find follows a path from field to field. element says that the path ends at the array
// to explode, and so at one of its elements.
func find(m Message, source *featurestore.Source, steps []string) (at protoreflect.FieldDescriptor, element bool, err error) {
	explode := strings.Split(source.Explode, ".")
	for i, name := range steps {
		if m == nil {
			return nil, false, fmt.Errorf("%s is %s: it has no fields", at.FullName(), kind(at))
		}
		if at = m.Fields().ByName(protoreflect.Name(name)); at == nil {
			return nil, false, fmt.Errorf("message %s has no field %q", m.FullName(), name)
		}
		element = slices.Equal(steps[:i+1], explode)
		switch {
		case at.IsMap():
			return nil, false, fmt.Errorf("%s is a map, which cannot be read", at.FullName())
		case element && !at.IsList():
			return nil, false, fmt.Errorf("%s is not repeated: there is nothing to explode", at.FullName())
		case at.IsList() && !element && i < len(steps)-1:
			return nil, false, fmt.Errorf("%s is repeated: only the path to explode leads through a list", at.FullName())
		}
		m = at.Message()
	}
	return at, element, nil
}

func fits(at protoreflect.FieldDescriptor, element bool, t featurestore.Type) error {
	want := t
	if list := at.IsList() && !element; list != t.IsList() {
		return fmt.Errorf("%s is %s; %s is needed", at.FullName(), kind(at), t)
	}
	if typ := scalar(at.Kind()); typ != want.Elem() && (typ != featurestore.Int64 || want.Elem() != featurestore.Float64) {
		return fmt.Errorf("%s is %s; %s is needed", at.FullName(), kind(at), t)
	}
	return nil
}

// scalar is the type of the values of a kind, 0 for messages. Numbers that may be
// fractions also take whole ones.
func scalar(k protoreflect.Kind) featurestore.Type {
	switch k {
	case protoreflect.BoolKind:
		return featurestore.Bool
	case protoreflect.EnumKind, protoreflect.StringKind:
		return featurestore.String
	case protoreflect.BytesKind:
		return featurestore.Bytes
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return featurestore.Float64
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return 0
	default:
		return featurestore.Int64
	}
}

func kind(at protoreflect.FieldDescriptor) string {
	name := at.Kind().String()
	if m := at.Message(); m != nil {
		name = "message " + string(m.FullName())
	}
	if at.IsList() {
		return "a list of " + name
	}
	return name
}
