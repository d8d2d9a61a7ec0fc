package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
)

// avroFormat reads records in Avro's binary form behind the id of their writer's schema
// in the registry. What the writer does not have is null; what nobody wants is ignored.
type avroFormat struct {
	layout  *layout
	schemas *Schemas
}

func (a *avroFormat) read(ctx context.Context, d *Decoder, value []byte) error {
	id, body, err := new(sr.ConfluentHeader).DecodeID(value)
	if err != nil {
		return BadSchema.because(errNoHeader)
	}
	written, err := a.schemas.get(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case written.err != nil:
		return BadSchema.because(written.err)
	case written.avro == nil:
		return BadSchema.because(fmt.Errorf("schema %d is no Avro schema", id))
	}
	var datum any
	rest, err := written.avro.Decode(body, &datum, avro.AliasInput())
	if err != nil {
		return Malformed.because(fmt.Errorf("the record does not fit its schema %d: %w", id, err))
	}
	if len(rest) > 0 {
		return Malformed.because(fmt.Errorf("the record has %d bytes after its value, by schema %d", len(rest), id))
	}
	record, ok := datum.(map[string]any)
	if !ok {
		return BadSchema.because(fmt.Errorf("schema %d is not that of a record", id))
	}
	return a.record(d, a.layout.root, record, &d.record)
}

var errNoHeader = errors.New("the record does not begin with the id of a schema, as the serializers of the schema registry write it: a zero byte, then 4 bytes")

func (a *avroFormat) record(d *Decoder, n *node, record map[string]any, into *draft) error {
	for _, child := range n.children {
		value := record[child.name]
		if value == nil {
			continue
		}
		var err error
		switch {
		case child.explode:
			err = a.array(d, child, value)
		case len(child.children) == 0:
			err = a.value(child, value, into)
		default:
			below, ok := value.(map[string]any)
			if !ok {
				return fmt.Errorf("%q is %s; a record is needed", child.path, avroKind(value))
			}
			err = a.record(d, child, below, into)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *avroFormat) array(d *Decoder, n *node, value any) error {
	list, ok := value.([]any)
	if !ok {
		return fmt.Errorf("%q is %s; an array is needed", n.path, avroKind(value))
	}
	for i, v := range list {
		element, err := d.newElement()
		if err != nil {
			return err
		}
		below, isRecord := v.(map[string]any)
		switch {
		case len(n.children) == 0 && v != nil:
			err = a.value(n, v, element)
		case len(n.children) > 0 && isRecord:
			err = a.record(d, n, below, element)
		case len(n.children) > 0:
			err = fmt.Errorf("is %s; a record is needed", avroKind(v))
		}
		if err != nil {
			return inElement(i, err)
		}
	}
	return nil
}

// value reads one value, which is not null, for all fields that want it.
func (a *avroFormat) value(n *node, v any, into *draft) error {
	for i := range n.targets {
		t := &n.targets[i]
		var err error
		if t.field == nil {
			if into.time, err = avroTime(v, a.layout.Source.TimeUnit); err != nil {
				return t.inField(a.layout, err)
			}
			continue
		}
		value, err := avroValue(v, t.field.Type)
		if err == nil {
			err = checkSize(value, t.field)
		}
		if err != nil {
			return t.inField(a.layout, err)
		}
		into.set(t, value)
	}
	return nil
}
