package served

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/onehop/onehop/featurestore"
)

// ValueJSON is a value in JSON; floats are the shortest text that is the same float.
func ValueJSON(v *featurestore.Value) string { return string(appendValue(nil, v)) }

func appendValue(dst []byte, v *featurestore.Value) []byte {
	switch {
	case v.IsNull():
		return append(dst, "null"...)
	case v.Type.IsList():
		dst = append(dst, '[')
		for i := range v.List {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, &v.List[i])
		}
		return append(dst, ']')
	}
	switch v.Type {
	case featurestore.Int64:
		return strconv.AppendInt(dst, v.Int(), 10)
	case featurestore.Float64: // finite, see fold
		return strconv.AppendFloat(dst, v.Float(), 'g', -1, 64)
	case featurestore.Bool:
		return strconv.AppendBool(dst, v.Bool())
	case featurestore.String:
		quoted, _ := json.Marshal(string(v.Bytes)) // a string always encodes
		return append(dst, quoted...)
	default:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v.Bytes), '"')
	}
}

// Value reads a value of a type from JSON as [ValueJSON] writes it.
func Value(text string, t featurestore.Type) (v featurestore.Value, err error) {
	if text == "null" {
		return v, nil
	}
	if t.IsList() {
		var raw []json.RawMessage
		if err := json.Unmarshal([]byte(text), &raw); err != nil {
			return v, notOf(text, t)
		}
		list := make([]featurestore.Value, len(raw))
		for i := range raw {
			if list[i], err = Value(string(raw[i]), t.Elem()); err != nil {
				return v, err
			}
		}
		return featurestore.ListValue(t.Elem(), list), nil
	}
	switch t {
	case featurestore.Int64:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		v = featurestore.IntValue(n)
	case featurestore.Float64:
		var x float64
		x, err = strconv.ParseFloat(text, 64)
		v = featurestore.FloatValue(x)
	case featurestore.Bool:
		var b bool
		err = json.Unmarshal([]byte(text), &b)
		v = featurestore.BoolValue(b)
	case featurestore.String:
		var s string
		err = json.Unmarshal([]byte(text), &s)
		v = featurestore.StringValue(s)
	default:
		var b []byte
		err = json.Unmarshal([]byte(text), &b)
		v = featurestore.BytesValue(b)
	}
	if err != nil {
		return featurestore.Value{}, notOf(text, t)
	}
	return v, nil
}

func notOf(text string, t featurestore.Type) error {
	const most = 60
	if len(text) > most {
		text = text[:most] + "…"
	}
	return fmt.Errorf("%s in the serving log is not %s", text, t)
}
