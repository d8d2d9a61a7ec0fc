package table

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// newKeys makes room for the keys of rows.
func newKeys(columns []column, rows int) training.Keys {
	keys := training.Keys{Parts: make([]plan.KeyColumn, len(columns)), Null: make([]bool, 0, rows)}
	for i, c := range columns {
		switch c.key {
		case featurestore.Int64:
			keys.Parts[i].Ints = make([]int64, 0, rows)
		case featurestore.String:
			keys.Parts[i].Strings = make([]string, 0, rows)
		default:
			keys.Parts[i].Bytes = make([][]byte, 0, rows)
		}
	}
	return keys
}

// appendKeys appends the keys of a batch, whose texts they alias. first is its first row.
func appendKeys(keys *training.Keys, columns []column, batch arrow.RecordBatch, first int64) error {
	start := len(keys.Null)
	keys.Null = append(keys.Null, make([]bool, batch.NumRows())...)
	for i, c := range columns {
		col := batch.Column(c.index)
		if err := appendPart(&keys.Parts[i], col, c, first); err != nil {
			return err
		}
		if col.NullN() == 0 {
			continue
		}
		for row := range col.Len() {
			if col.IsNull(row) {
				keys.Null[start+row] = true
			}
		}
	}
	return nil
}

func appendPart(part *plan.KeyColumn, col arrow.Array, c column, first int64) error {
	var err error
	switch c.key {
	case featurestore.Int64:
		part.Ints, err = appendInts(part.Ints, col, c.name, first)
	case featurestore.String:
		part.Strings, err = appendTexts(part.Strings, col, c.name, first)
	default:
		part.Bytes, err = appendBytes(part.Bytes, col, c.name, first)
	}
	return err
}

func appendInts(dst []int64, col arrow.Array, name string, first int64) ([]int64, error) {
	switch col := col.(type) {
	case *array.Int64:
		return append(dst, col.Int64Values()...), nil
	case *array.Int32:
		return widen(dst, col.Int32Values()), nil
	case *array.Int16:
		return widen(dst, col.Int16Values()), nil
	case *array.Int8:
		return widen(dst, col.Int8Values()), nil
	case *array.Uint32:
		return widen(dst, col.Uint32Values()), nil
	case *array.Uint16:
		return widen(dst, col.Uint16Values()), nil
	case *array.Uint8:
		return widen(dst, col.Uint8Values()), nil
	case *array.Uint64:
		for i, v := range col.Uint64Values() {
			if v > math.MaxInt64 && !col.IsNull(i) {
				return dst, cellError(first+int64(i), name, "%d is greater than any int64", v)
			}
			dst = append(dst, int64(v))
		}
		return dst, nil
	default:
		return dst, fmt.Errorf("column %q: %w", name, errType)
	}
}

func widen[T int32 | int16 | int8 | uint32 | uint16 | uint8](dst []int64, values []T) []int64 {
	for _, v := range values {
		dst = append(dst, int64(v))
	}
	return dst
}

func appendTexts(dst []string, col arrow.Array, name string, first int64) ([]string, error) {
	value, err := textReader(col, name)
	if err != nil {
		return dst, err
	}
	for i := range col.Len() {
		if col.IsNull(i) {
			dst = append(dst, "")
			continue
		}
		text := value(i)
		if problem := badText(text); problem != "" {
			return dst, cellError(first+int64(i), name, "%s", problem)
		}
		dst = append(dst, text)
	}
	return dst, nil
}

// badText says what is wrong with the text of a key. No accepted event has such a one, and
// Postgres does not take it.
func badText(text string) string {
	switch {
	case text == "":
		return "the key is empty; a row without a key has null there"
	case len(text) > featurestore.MaxKeyBytes:
		return tooLong(len(text))
	case !utf8.ValidString(text):
		return "the key is not UTF-8"
	case strings.Contains(text, "\x00"):
		return "the key holds a NUL"
	default:
		return ""
	}
}

func tooLong(n int) string {
	return fmt.Sprintf("the key has %d bytes; at most %d are allowed", n, featurestore.MaxKeyBytes)
}

func appendBytes(dst [][]byte, col arrow.Array, name string, first int64) ([][]byte, error) {
	values, ok := col.(interface{ Value(i int) []byte })
	if !ok {
		return dst, fmt.Errorf("column %q: %w", name, errType)
	}
	for i := range col.Len() {
		if col.IsNull(i) {
			dst = append(dst, []byte{})
			continue
		}
		v := values.Value(i)
		switch {
		case len(v) == 0:
			return dst, cellError(first+int64(i), name, "%s", badText(""))
		case len(v) > featurestore.MaxKeyBytes:
			return dst, cellError(first+int64(i), name, "%s", tooLong(len(v)))
		}
		dst = append(dst, v)
	}
	return dst, nil
}
