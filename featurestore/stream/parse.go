package stream

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/onehop/onehop/featurestore"
)

// values reads JSON values, and what is in lists with one tokenizer for all of them.
type values struct {
	tokens *jsontext.Decoder
	body   bytes.Buffer
}

func newValues() values { return values{tokens: jsontext.NewDecoder(&bytes.Buffer{})} }

// value reads a JSON value as a type. Nothing is converted silently: a number
// with a fraction is no int64, a number in quotes is no number.
func (r *values) value(raw jsontext.Value, t featurestore.Type) (featurestore.Value, error) {
	kind := raw.Kind()
	if kind == 'n' {
		return featurestore.Value{}, nil
	}
	if t.IsList() {
		return r.list(raw, t)
	}
	switch {
	case t == featurestore.Int64 && kind == '0':
		v, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			return featurestore.Value{}, fmt.Errorf("is %s; an int64 is needed", shorten(string(raw), 60))
		}
		return featurestore.IntValue(v), nil
	case t == featurestore.Float64 && kind == '0':
		v, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || math.IsInf(v, 0) {
			return featurestore.Value{}, fmt.Errorf("is %s, which no float64 can hold", shorten(string(raw), 60))
		}
		return featurestore.FloatValue(v), nil
	case t == featurestore.Bool && (kind == 't' || kind == 'f'):
		return featurestore.BoolValue(kind == 't'), nil
	case (t == featurestore.String || t == featurestore.Bytes) && kind == '"':
		return parseText(raw, t)
	}
	return featurestore.Value{}, fmt.Errorf("is %s; %s is needed", kindName(kind), t)
}

func parseText(raw jsontext.Value, t featurestore.Type) (featurestore.Value, error) {
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return featurestore.Value{}, malformed(err)
	}
	if t == featurestore.String {
		if bytes.IndexByte(text, 0) >= 0 { // that it is UTF-8 the tokenizer has seen to
			return featurestore.Value{}, errNUL
		}
		return featurestore.Value{Type: t, Bytes: text}, nil
	}
	n, err := base64.StdEncoding.Decode(text, text)
	if err != nil {
		return featurestore.Value{}, errors.New("is not base64")
	}
	return featurestore.BytesValue(text[:n]), nil
}

func (r *values) list(raw jsontext.Value, t featurestore.Type) (featurestore.Value, error) {
	if raw.Kind() != '[' {
		return featurestore.Value{}, fmt.Errorf("is %s; %s is needed", kindName(raw.Kind()), t)
	}
	list := []featurestore.Value{}
	r.body.Reset()
	r.body.Write(raw)
	elements := r.tokens
	elements.Reset(&r.body)
	if _, err := elements.ReadToken(); err != nil {
		return featurestore.Value{}, malformed(err)
	}
	for elements.PeekKind() != ']' {
		element, err := elements.ReadValue()
		if err != nil {
			return featurestore.Value{}, malformed(err)
		}
		v, err := r.value(element, t.Elem())
		if err != nil {
			return featurestore.Value{}, fmt.Errorf("element %d %w", len(list)+1, err)
		}
		if v.IsNull() {
			return featurestore.Value{}, fmt.Errorf("element %d is null; lists hold no nulls", len(list)+1)
		}
		list = append(list, v)
	}
	return featurestore.ListValue(t.Elem(), list), nil
}

// parseTime reads an event time in the unit that the source declares.
func parseTime(raw jsontext.Value, unit featurestore.TimeUnit) (int64, error) {
	if unit == featurestore.RFC3339 {
		text, err := jsontext.AppendUnquote(nil, raw)
		if raw.Kind() != '"' || err != nil {
			return 0, fmt.Errorf("is %s; a time such as \"2026-01-02T15:04:05Z\" is needed", kindName(raw.Kind()))
		}
		return textTime(string(text), unit)
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if raw.Kind() != '0' || err != nil {
		return 0, fmt.Errorf("is not a whole number of %s since 1970", unit)
	}
	return numberTime(n, unit)
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case 'n':
		return "null"
	case 't', 'f':
		return "a bool"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "an array"
	default:
		return "nothing"
	}
}
