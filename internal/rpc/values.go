package rpc

import (
	"math"
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// maxRows bounds the rows of a request.
const maxRows = 10_000

// length is the number of values in a message that holds no lists, and −1 when more
// than one of its fields is used or it holds lists.
func length(v *onehopv1.Values) int {
	used, n := 0, 0
	for _, size := range [...]int{len(v.GetInt64()), len(v.GetDouble()), len(v.GetString_()), len(v.GetBytes()), len(v.GetBool())} {
		if size > 0 {
			used, n = used+1, size
		}
	}
	if used > 1 || len(v.GetListLengths()) > 0 {
		return -1
	}
	return n
}

// keyColumn takes a join key's values from a request; where names the request's field.
func keyColumn(where string, key featurestore.JoinKey, v *onehopv1.Values) (plan.KeyColumn, error) {
	column := plan.KeyColumn{}
	switch {
	case v == nil:
		return column, featurestore.Errorf(featurestore.Invalid, "%s: join key %q is missing", where, key.Name)
	case key.Type == featurestore.Int64:
		column.Ints = v.GetInt64()
	case key.Type == featurestore.String:
		column.Strings = v.GetString_()
	default:
		column.Bytes = v.GetBytes()
	}
	n := length(v)
	switch {
	case n == 0:
		return column, featurestore.Errorf(featurestore.Invalid, "%s: join key %q has no values", where, key.Name)
	case n != column.Len():
		return column, featurestore.Errorf(featurestore.Invalid, "%s: join key %q must be given as %s only", where, key.Name, key.Type)
	case n > maxRows:
		return column, featurestore.Errorf(featurestore.Invalid, "%s: join key %q has %d values; at most %d are allowed in a request", where, key.Name, n, maxRows)
	}
	return column, nil
}

// checkNames refuses names in a request's map that nobody asked for.
func checkNames(where string, given map[string]*onehopv1.Values, wanted func(string) bool, all []string) error {
	for name := range given {
		if !wanted(name) {
			slices.Sort(all)
			return featurestore.Errorf(featurestore.Invalid, "%s: %q is not asked for; this request takes %s", where, shortName(name), strings.Join(all, ", "))
		}
	}
	return nil
}

func shortName(name string) string {
	if len(name) > 64 {
		return name[:64] + "…"
	}
	return name
}

// floats takes numeric values from a request as float64; NaN and infinities are
// refused.
func floats(where, name string, v *onehopv1.Values) ([]float64, error) {
	n := length(v)
	out := make([]float64, 0, max(n, 0))
	for _, x := range v.GetInt64() {
		out = append(out, float64(x))
	}
	for i, x := range v.GetDouble() {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, featurestore.Errorf(featurestore.Invalid, "%s: %q: value %d is not finite", where, shortName(name), i)
		}
		out = append(out, x)
	}
	for _, x := range v.GetBool() {
		f := 0.0
		if x {
			f = 1
		}
		out = append(out, f)
	}
	if n < 1 || len(out) != n {
		return nil, featurestore.Errorf(featurestore.Invalid, "%s: %q needs numbers, as one of int64, double and bool", where, shortName(name))
	}
	return out, nil
}

// columnBuilder collects the cells of a column.
type columnBuilder struct {
	column *onehopv1.Column
	typ    featurestore.Type
}

func newColumn(name string, t featurestore.Type, rows int) columnBuilder {
	c := &onehopv1.Column{
		Name: name, Values: &onehopv1.Values{},
		Statuses: make([]onehopv1.Status, 0, rows), EventTimesUs: make([]int64, 0, rows),
	}
	if t.IsList() {
		c.Values.ListLengths = make([]uint32, 0, rows)
	}
	return columnBuilder{column: c, typ: t}
}

func (b columnBuilder) add(cell *featurestore.Cell) {
	b.column.Statuses = append(b.column.Statuses, onehopv1.Status(cell.Status))
	b.column.EventTimesUs = append(b.column.EventTimesUs, cell.EventTime)
	if !b.typ.IsList() {
		b.value(&cell.Value)
		return
	}
	b.column.Values.ListLengths = append(b.column.Values.ListLengths, uint32(len(cell.Value.List)))
	for i := range cell.Value.List {
		b.value(&cell.Value.List[i])
	}
}

// value appends a value of the column's element type; null as the type's zero.
func (b columnBuilder) value(v *featurestore.Value) {
	values := b.column.Values
	switch b.typ.Elem() {
	case featurestore.Int64:
		values.Int64 = append(values.Int64, v.Int())
	case featurestore.Float64:
		values.Double = append(values.Double, v.Float())
	case featurestore.Bool:
		values.Bool = append(values.Bool, v.Bool())
	case featurestore.String:
		values.String_ = append(values.String_, string(v.Bytes))
	default:
		values.Bytes = append(values.Bytes, slices.Clone(v.Bytes))
	}
}
