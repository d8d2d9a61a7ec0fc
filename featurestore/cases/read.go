package cases

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// check reads an entity's columns and compares them. With an error comes its line.
func (w *world) check(r *Read) (failures []Failure, line int, err error) {
	if !r.At.given {
		return nil, r.line, errors.New("\"at\", the time of the read, is missing")
	}
	for i := range r.Expect {
		want := &r.Expect[i]
		name, column, _ := strings.Cut(want.column, ".")
		v, ok := w.views[name]
		if !ok {
			return nil, want.line, fmt.Errorf("%q: there is no view %q", want.column, name)
		}
		cell, err := v.read(r, column)
		if err != nil {
			return nil, want.line, fmt.Errorf("%q: %w", want.column, err)
		}
		if !want.is(&cell) {
			failures = append(failures, Failure{Line: want.line, Message: fmt.Sprintf("%s of %s at %s: got %s, want %s",
				want.column, keyText(r.Of), featurestore.FormatTime(r.At.us), text(cell.Value, cell.Status), want.text())})
		}
	}
	return failures, 0, nil
}

// read is one column of the entity, read as the services read it.
func (v *view) read(r *Read, column string) (featurestore.Cell, error) {
	var cell [1]featurestore.Cell
	key, err := v.key(r.Of)
	if err != nil {
		return cell[0], err
	}
	reader, err := v.Program.Reader([]string{column})
	if err != nil {
		return cell[0], err
	}
	var row []byte
	if state, ok := v.rows[key]; ok {
		row = state.AppendRow(nil)
	}
	err = reader.Read(row, r.At.us, cell[:])
	return cell[0], err
}

// key encodes the entity's join keys.
func (v *view) key(of map[string]any) (string, error) {
	var parts []featurestore.Value
	for _, key := range v.Entity.Keys {
		given, ok := of[key.Name]
		if !ok {
			return "", fmt.Errorf("\"of\" lacks %q, a join key of entity %q", key.Name, v.Entity.Name)
		}
		part, err := joinKey(key, given)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	if len(of) != len(parts) {
		return "", fmt.Errorf("\"of\" has %d join keys; entity %q has %d", len(of), v.Entity.Name, len(parts))
	}
	encoded, err := v.Entity.AppendKey(nil, parts)
	return string(encoded), err
}

func joinKey(key featurestore.JoinKey, given any) (featurestore.Value, error) {
	if key.Type == featurestore.Int64 {
		n, ok := wholeNumber(given)
		if !ok {
			return featurestore.Value{}, fmt.Errorf("join key %q must be a whole number; it is %s", key.Name, written(given))
		}
		return featurestore.IntValue(n), nil
	}
	s, ok := given.(string)
	if !ok {
		return featurestore.Value{}, fmt.Errorf("join key %q must be text; it is %s", key.Name, written(given))
	}
	return featurestore.Value{Type: key.Type, Bytes: []byte(s)}, nil
}

func (m moment) time() time.Time { return time.UnixMicro(m.us) }

func keyText(of map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, name+" "+written(of[name]))
	}
	return strings.Join(parts, ", ")
}

func text(v featurestore.Value, status featurestore.Status) string {
	if v.IsNull() {
		return status.String()
	}
	size := fmt.Sprintf("%d bytes", len(v.Bytes))
	if v.Type.IsList() {
		size = fmt.Sprintf("%d elements", len(v.List))
	}
	text := start(v.String(), size)
	if status != featurestore.Present {
		return text + " " + status.String()
	}
	return text
}

func (e *expected) text() string {
	switch {
	case e.value == nil:
		return e.status
	case e.status == featurestore.Present.String():
		return written(e.value)
	default:
		return written(e.value) + " " + e.status
	}
}

// written is a value of the file in a message.
func written(v any) string {
	text := fmt.Sprint(v)
	size := fmt.Sprintf("%d bytes", len(text))
	if list, ok := v.([]any); ok {
		size = fmt.Sprintf("%d elements", len(list))
	}
	return start(text, size)
}

// maxShown is how many bytes of a value a message shows.
const maxShown = 200

// start is a text, or how it starts and its size.
func start(text, size string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "… (" + size + ")"
}

// shorten is a text that is no value in a message.
func shorten(text string) string { return start(text, fmt.Sprintf("%d bytes", len(text))) }

// is says whether a cell is what is expected.
func (e *expected) is(cell *featurestore.Cell) bool {
	return e.status == cell.Status.String() && (e.value == nil || equal(e.value, cell.Value))
}

// closeTo is how near a float must be to what is written: people round.
const closeTo = 1e-9

// equal compares a value of YAML with a feature's.
func equal(want any, got featurestore.Value) bool {
	if list, ok := want.([]any); ok {
		if !got.Type.IsList() || len(list) != len(got.List) {
			return false
		}
		for i := range list {
			if !equal(list[i], got.List[i]) {
				return false
			}
		}
		return true
	}
	switch got.Type {
	case featurestore.Int64:
		n, ok := wholeNumber(want)
		return ok && n == got.Int()
	case featurestore.Float64:
		x, ok := want.(float64)
		if n, whole := wholeNumber(want); whole {
			x, ok = float64(n), true
		}
		return ok && math.Abs(x-got.Float()) <= closeTo*max(1, math.Abs(x))
	case featurestore.Bool:
		b, ok := want.(bool)
		return ok && b == got.Bool()
	case featurestore.String, featurestore.Bytes:
		s, ok := want.(string)
		return ok && s == string(got.Bytes)
	default:
		return false
	}
}

func wholeNumber(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case uint64:
		return int64(v), v <= math.MaxInt64
	default:
		return 0, false
	}
}
