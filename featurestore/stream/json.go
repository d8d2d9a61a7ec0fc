package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonFormat reads records that are JSON objects, in one pass.
type jsonFormat struct {
	layout *layout
	tokens *jsontext.Decoder
	body   bytes.Buffer
	values values
}

func newJSON(l *layout) *jsonFormat {
	return &jsonFormat{layout: l, tokens: jsontext.NewDecoder(&bytes.Buffer{}), values: newValues()}
}

func (j *jsonFormat) read(_ context.Context, d *Decoder, value []byte) error {
	j.body.Reset()
	j.body.Write(value)
	j.tokens.Reset(&j.body)
	if kind := j.tokens.PeekKind(); kind != '{' {
		if _, err := j.tokens.ReadToken(); err != nil {
			return malformed(err)
		}
		return Malformed.because(errors.New("the record is not a JSON object"))
	}
	if err := j.object(d, j.layout.root, &d.record); err != nil {
		return err
	}
	if len(j.tokens.UnreadBuffer()) > 0 && len(bytes.TrimSpace(j.tokens.UnreadBuffer())) > 0 {
		return Malformed.because(errors.New("the record has something after its JSON object"))
	}
	return nil
}

// object reads the object that comes next.
func (j *jsonFormat) object(d *Decoder, n *node, into *draft) error {
	if _, err := j.tokens.ReadToken(); err != nil {
		return malformed(err)
	}
	for j.tokens.PeekKind() != '}' {
		name, err := j.tokens.ReadToken()
		if err != nil {
			return malformed(err)
		}
		if err := j.member(d, n.byName[name.String()], into); err != nil {
			return err
		}
	}
	if _, err := j.tokens.ReadToken(); err != nil {
		return malformed(err)
	}
	return nil
}

// member reads the value of a member, or skips it when nobody wants it.
func (j *jsonFormat) member(d *Decoder, n *node, into *draft) error {
	switch {
	case n == nil:
		if err := j.tokens.SkipValue(); err != nil {
			return malformed(err)
		}
		return nil
	case n.explode:
		return j.array(d, n)
	case len(n.children) == 0:
		return j.value(n, into)
	}
	switch kind := j.tokens.PeekKind(); kind {
	case '{':
		return j.object(d, n, into)
	case 'n': // all below it is null
		_, err := j.tokens.ReadToken()
		return err
	default:
		return j.misfit(fmt.Errorf("%q is %s; an object is needed", n.path, kindName(kind)))
	}
}

// value reads one value for all fields that want it.
func (j *jsonFormat) value(n *node, into *draft) error {
	raw, err := j.tokens.ReadValue()
	if err != nil {
		return malformed(err)
	}
	for i := range n.targets {
		t := &n.targets[i]
		if t.field == nil {
			if into.time, err = parseTime(raw, j.layout.Source.TimeUnit); err != nil {
				return t.inField(j.layout, err)
			}
			continue
		}
		value, err := j.values.value(raw, t.field.Type)
		if err == nil {
			err = checkSize(value, t.field)
		}
		if err != nil {
			return t.inField(j.layout, err)
		}
		into.set(t, value)
	}
	return nil
}

// array reads the array of which each element is an event.
func (j *jsonFormat) array(d *Decoder, n *node) error {
	switch kind := j.tokens.PeekKind(); kind {
	case '[':
	case 'n':
		_, err := j.tokens.ReadToken()
		return err
	default:
		return j.misfit(fmt.Errorf("%q is %s; an array is needed", n.path, kindName(kind)))
	}
	if _, err := j.tokens.ReadToken(); err != nil {
		return malformed(err)
	}
	for i := 0; j.tokens.PeekKind() != ']'; i++ {
		element, err := d.newElement()
		if err != nil {
			return err
		}
		if err := j.element(d, n, element); err != nil {
			return inElement(i, err)
		}
	}
	if _, err := j.tokens.ReadToken(); err != nil {
		return malformed(err)
	}
	return nil
}

func (j *jsonFormat) element(d *Decoder, n *node, into *draft) error {
	if len(n.children) == 0 {
		return j.value(n, into)
	}
	if kind := j.tokens.PeekKind(); kind != '{' {
		return j.misfit(fmt.Errorf("is %s; an object is needed", kindName(kind)))
	}
	return j.object(d, n, into)
}

// misfit is an error about a value of a wrong kind, unless there is no value at all.
func (j *jsonFormat) misfit(err error) error {
	if _, bad := j.tokens.ReadValue(); bad != nil {
		return malformed(bad)
	}
	return err
}

func malformed(err error) error {
	return Malformed.because(fmt.Errorf("the record is not valid JSON: %w", err))
}
