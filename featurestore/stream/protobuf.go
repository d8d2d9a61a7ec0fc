package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/descriptor"
)

// protobufFormat reads records that are protobuf messages: plain, by the source's
// descriptor set, or behind the id of their schema in the registry.
type protobufFormat struct {
	layout  *layout
	schemas *Schemas
	message descriptor.Message // of plain records
	err     error              // why the descriptor set cannot be used
}

func newProtobuf(l *layout, schemas *Schemas) *protobufFormat {
	p := &protobufFormat{layout: l, schemas: schemas}
	if len(l.Source.DescriptorSet) > 0 {
		p.message, p.err = descriptor.Parse(l.Source.DescriptorSet, l.Source.Message)
	}
	return p
}

// maxNesting bounds the depth of messages within messages.
const maxNesting = 100

func (p *protobufFormat) read(ctx context.Context, d *Decoder, value []byte) error {
	if p.err != nil { // it was checked when it was applied: what is stored is damaged
		return fmt.Errorf("%w: the stored descriptor set of source %q: %w", ErrBlocked, p.layout.Source.Name, p.err)
	}
	kind := p.message
	if kind == nil {
		var err error
		if kind, value, err = p.registered(ctx, value); err != nil {
			return err
		}
	}
	message := dynamicpb.NewMessage(kind)
	options := proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true, RecursionLimit: maxNesting}
	if err := options.Unmarshal(value, message); err != nil {
		// The library puts a space that does not break into some builds' messages, so that nobody
		// compares them; people search them.
		return Malformed.because(fmt.Errorf("the record is no message %s: %s", kind.FullName(), strings.ReplaceAll(err.Error(), "\u00a0", " ")))
	}
	return p.fields(d, p.layout.root, message, &d.record)
}

// registered finds the message of a record in the registry's wire format: the id of its
// schema, and which message of that it is.
func (p *protobufFormat) registered(ctx context.Context, value []byte) (descriptor.Message, []byte, error) {
	var header sr.ConfluentHeader
	id, rest, err := header.DecodeID(value)
	if err != nil {
		return nil, nil, BadSchema.because(errNoHeader)
	}
	index, body, err := header.DecodeIndex(rest, maxNesting)
	if err != nil {
		return nil, nil, BadSchema.because(errors.New("the record does not say which message of its schema it is"))
	}
	written, err := p.schemas.get(ctx, id)
	switch {
	case err != nil:
		return nil, nil, err
	case written.err != nil:
		return nil, nil, BadSchema.because(written.err)
	case written.file == nil:
		return nil, nil, BadSchema.because(fmt.Errorf("schema %d is no protobuf schema", id))
	}
	var kind descriptor.Message
	messages := written.file.Messages()
	for _, i := range index {
		if i < 0 || i >= messages.Len() {
			return nil, nil, BadSchema.because(fmt.Errorf("the record is message %v of schema %d, which has none there", index, id))
		}
		kind = messages.Get(i)
		messages = kind.Messages()
	}
	if kind == nil || string(kind.FullName()) != p.layout.Source.Message {
		return nil, nil, BadSchema.because(fmt.Errorf("the record is another message of schema %d; the source declares %s", id, p.layout.Source.Message))
	}
	return kind, body, nil
}

// fields reads what is wanted of a message. A field that its writer's schema lacks is
// null.
func (p *protobufFormat) fields(d *Decoder, n *node, message protoreflect.Message, into *draft) error {
	for _, child := range n.children {
		field := message.Descriptor().Fields().ByName(protoreflect.Name(child.name))
		if field == nil || field.HasPresence() && !message.Has(field) {
			continue
		}
		var err error
		switch value := message.Get(field); {
		case child.explode:
			err = p.array(d, child, field, value)
		case len(child.children) == 0:
			err = p.value(child, field, value, into)
		case field.Message() == nil || field.IsList() || field.IsMap():
			err = fmt.Errorf("%q is %s; a message is needed", child.path, protobufKind(field))
		default:
			err = p.fields(d, child, value.Message(), into)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *protobufFormat) array(d *Decoder, n *node, field protoreflect.FieldDescriptor, value protoreflect.Value) error {
	if !field.IsList() {
		return fmt.Errorf("%q is %s; a repeated field is needed", n.path, protobufKind(field))
	}
	list := value.List()
	for i := range list.Len() {
		element, err := d.newElement()
		if err != nil {
			return err
		}
		switch {
		case len(n.children) == 0:
			err = p.scalar(n, field, list.Get(i), element)
		case field.Message() != nil:
			err = p.fields(d, n, list.Get(i).Message(), element)
		default:
			err = fmt.Errorf("is %s; a message is needed", protobufKind(field))
		}
		if err != nil {
			return inElement(i, err)
		}
	}
	return nil
}

// value reads one field for all targets that want it.
func (p *protobufFormat) value(n *node, field protoreflect.FieldDescriptor, value protoreflect.Value, into *draft) error {
	if !field.IsList() {
		return p.scalar(n, field, value, into)
	}
	for i := range n.targets {
		t := &n.targets[i]
		if t.field == nil || !t.field.Type.IsList() {
			return t.inField(p.layout, fmt.Errorf("is %s; a single value is needed", protobufKind(field)))
		}
		elements := value.List()
		list := make([]featurestore.Value, elements.Len())
		for k := range list {
			var err error
			if list[k], err = protobufValue(field, elements.Get(k), t.field.Type.Elem()); err != nil {
				return t.inField(p.layout, fmt.Errorf("element %d %w", k+1, err))
			}
		}
		into.set(t, featurestore.ListValue(t.field.Type.Elem(), list))
	}
	return nil
}

func (p *protobufFormat) scalar(n *node, field protoreflect.FieldDescriptor, value protoreflect.Value, into *draft) error {
	for i := range n.targets {
		t := &n.targets[i]
		var err error
		if t.field == nil {
			if into.time, err = protobufTime(field, value, p.layout.Source.TimeUnit); err != nil {
				return t.inField(p.layout, err)
			}
			continue
		}
		v, err := protobufValue(field, value, t.field.Type)
		if err == nil {
			err = checkSize(v, t.field)
		}
		if err != nil {
			return t.inField(p.layout, err)
		}
		into.set(t, v)
	}
	return nil
}
