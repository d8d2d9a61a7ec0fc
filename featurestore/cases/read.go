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
	"github.com/onehop/onehop/featurestore/plan"
)

// check reads columns and compares them. With an error comes its line.
func (w *world) check(r *Read) (failures []Failure, line int, err error) {
	if !r.At.given {
		return nil, r.line, errors.New("\"at\", the time of the read, is missing")
	}
	used := map[string]bool{} // names of join keys and request fields
	for i := range r.Expect {
		want := &r.Expect[i]
		cell, err := w.read(r, want.column, used)
		if err != nil {
			return nil, want.line, fmt.Errorf("%q: %w", want.column, err)
		}
		if !want.is(&cell) {
			failures = append(failures, Failure{Line: want.line, Message: fmt.Sprintf("%s of %s at %s: got %s, want %s",
				want.column, keyText(r.Of), featurestore.FormatTime(r.At.us), text(cell.Value, cell.Status), want.text())})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Of)) {
		if len(r.Expect) > 0 && !used[name] {
			return nil, r.line, fmt.Errorf("\"of\" has %q, which is no join key of what is expected", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Request)) {
		if !used[requestName(name)] {
			return nil, r.line, fmt.Errorf("\"request\" has %q, from which nothing that is expected is computed", name)
		}
	}
	return failures, 0, nil
}

func requestName(field string) string { return featurestore.RequestView + "." + field }

// read is one feature, read and computed as the services do.
func (w *world) read(r *Read, name string, used map[string]bool) (featurestore.Cell, error) {
	ref, err := featurestore.ParseRef(name)
	if err != nil {
		return featurestore.Cell{}, err
	}
	p, err := plan.Compile(w.catalog, w.programs, []featurestore.Ref{ref})
	if err != nil {
		return featurestore.Cell{}, err
	}
	cells := make([]featurestore.Cell, p.Cells)
	for i := range p.Views {
		key, err := encodedKey(p.Entities[p.Views[i].Entity], r.Of, used)
		if err != nil {
			return featurestore.Cell{}, err
		}
		v := &p.Views[i]
		var row []byte
		if state, ok := w.views[v.Name].rows[key]; ok {
			row = state.AppendRow(nil)
		}
		if err := v.Reader.Read(row, r.At.us, cells[v.First:v.First+len(v.Columns)]); err != nil {
			return featurestore.Cell{}, err
		}
	}
	request := make([]featurestore.Value, len(p.Request))
	for i := range p.Request {
		if request[i], err = requestValue(&p.Request[i], r.Request, used); err != nil {
			return featurestore.Cell{}, err
		}
	}
	p.Computer().Compute(cells, request)
	return cells[p.Columns[0].Cell], nil
}

func requestValue(field *plan.RequestField, given map[string]any, used map[string]bool) (featurestore.Value, error) {
	used[requestName(field.Name)] = true
	v, ok := given[field.Name]
	n, whole := wholeNumber(v)
	switch v := v.(type) {
	case nil:
		if !ok {
			return featurestore.Value{}, fmt.Errorf("\"request\" lacks %q, from which it is computed", field.Name)
		}
		return featurestore.Value{}, nil
	case float64:
		if field.Type == featurestore.Float64 {
			return featurestore.FloatValue(v), nil
		}
	case bool:
		if field.Type == featurestore.Bool {
			return featurestore.BoolValue(v), nil
		}
	case string:
		if field.Type == featurestore.String {
			return featurestore.StringValue(v), nil
		}
	}
	switch {
	case whole && field.Type == featurestore.Int64:
		return featurestore.IntValue(n), nil
	case whole && field.Type == featurestore.Float64:
		return featurestore.FloatValue(float64(n)), nil
	default:
		return featurestore.Value{}, fmt.Errorf("request field %q must be of type %s; it is %s", field.Name, field.Type, written(v))
	}
}

// encodedKey encodes an entity's join keys.
func encodedKey(entity *featurestore.Entity, of map[string]any, used map[string]bool) (string, error) {
	var parts []featurestore.Value
	for _, key := range entity.Keys {
		used[key.Name] = true
		given, ok := of[key.Name]
		if !ok {
			return "", fmt.Errorf("\"of\" lacks %q, a join key of entity %q", key.Name, entity.Name)
		}
		part, err := joinKey(key, given)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	encoded, err := entity.AppendKey(nil, parts)
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
