package stream

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/onehop/onehop/featurestore"
)

// Cells reads the values of fields from tables, by the rules by which records are read. It
// is not safe for concurrent use.
type Cells struct{ json values }

// NewCells makes a reader.
func NewCells() *Cells { return &Cells{json: newValues()} }

// Text reads a value from a cell that is not empty: text as it is, bytes in base64, lists as
// JSON, the others in decimal. A text shares the memory of the cell. Errors continue a
// sentence about the cell.
func (c *Cells) Text(f *featurestore.Field, cell []byte) (v featurestore.Value, err error) {
	switch {
	case f.Type.IsList():
		raw := jsontext.Value(cell)
		if !raw.IsValid() {
			return v, fmt.Errorf("is no JSON; %s is written as [1,2] or [\"a\",\"b\"]", f.Type)
		}
		v, err = c.json.value(raw, f.Type)
	case f.Type == featurestore.Bytes:
		raw, decoding := base64.StdEncoding.AppendDecode(nil, cell)
		if decoding != nil {
			return v, errors.New("is not base64, as which bytes are written")
		}
		v = featurestore.BytesValue(raw)
	case f.Type == featurestore.String:
		v, err = stringValue(cell)
	default:
		v, err = textValue(cell, f.Type)
	}
	if err != nil {
		return featurestore.Value{}, err
	}
	return v, checkSize(v, f)
}

// Check says what is wrong with a value that has its field's type. Errors continue a
// sentence about it.
func (c *Cells) Check(f *featurestore.Field, v *featurestore.Value) error {
	if err := checkElement(v); err != nil {
		return err
	}
	for i := range v.List {
		if v.List[i].IsNull() {
			return fmt.Errorf("has null as element %d; lists hold no nulls", i+1)
		}
		if err := checkElement(&v.List[i]); err != nil {
			return fmt.Errorf("element %d %w", i+1, err)
		}
	}
	return checkSize(*v, f)
}

// checkElement checks a scalar.
func checkElement(v *featurestore.Value) error {
	switch v.Type {
	case featurestore.String:
		_, err := stringValue(v.Bytes)
		return err
	case featurestore.Float64:
		if x := v.Float(); math.IsNaN(x) || math.IsInf(x, 0) {
			_, err := floatValue(x)
			return err
		}
	default:
	}
	return nil
}
