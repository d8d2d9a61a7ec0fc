package materialize

import (
	"encoding/base64"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/onehop/onehop/featurestore"
)

// json is the record's value for the values of the row. Nulls are left out.
func (e *encoder) json(us int64) (out []byte, err error) {
	out = append(make([]byte, 0, 128), '{')
	if out, err = jsontext.AppendQuote(out, e.source.TimeField); err != nil {
		return nil, inColumn(e.source.TimeField, err)
	}
	out = strconv.AppendInt(append(out, ':'), us, 10)
	for i := range e.values {
		if e.values[i].IsNull() {
			continue
		}
		name := e.source.Fields[i].Name // letters, digits and underscores
		out = append(append(append(out, `,"`...), name...), `":`...)
		if out, err = appendJSON(out, &e.values[i]); err != nil {
			return nil, inColumn(name, err)
		}
	}
	return append(out, '}'), nil
}

func appendJSON(out []byte, v *featurestore.Value) (_ []byte, err error) {
	switch {
	case v.Type.IsList():
		out = append(out, '[')
		for i := range v.List {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendJSON(out, &v.List[i]); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case v.Type == featurestore.Int64:
		return strconv.AppendInt(out, v.Int(), 10), nil
	case v.Type == featurestore.Float64:
		return strconv.AppendFloat(out, v.Float(), 'g', -1, 64), nil
	case v.Type == featurestore.Bool:
		return strconv.AppendBool(out, v.Bool()), nil
	case v.Type == featurestore.Bytes:
		return append(base64.StdEncoding.AppendEncode(append(out, '"'), v.Bytes), '"'), nil
	default:
		return jsontext.AppendQuote(out, v.Bytes)
	}
}
