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

func noValues(where, name string) error {
	return featurestore.Errorf(featurestore.Invalid, "%s: %q has no values: give some, or leave it out", where, shortName(name))
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
			return nil, featurestore.Errorf(featurestore.Invalid, "%s: %q: value %d is not finite", where, shortName(name), i+1)
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
	switch {
	case n == 0:
		return nil, noValues(where, name)
	case len(out) != n:
		return nil, featurestore.Errorf(featurestore.Invalid, "%s: %q needs numbers, as one of int64, double and bool", where, shortName(name))
	}
	return out, nil
}

// texts takes values that must be texts.
func texts(where, name string, v *onehopv1.Values) ([]string, error) {
	switch n := length(v); {
	case n == 0:
		return nil, noValues(where, name)
	case len(v.GetString_()) != n:
		return nil, featurestore.Errorf(featurestore.Invalid, "%s: %q needs texts, as string", where, shortName(name))
	}
	return v.GetString_(), nil
}

// fieldValues takes the values of a request field that a feature is computed from: of its
// type, but that integers do for a float64. NaN and infinities are refused.
func fieldValues(field *plan.RequestField, given map[string]*onehopv1.Values) ([]featurestore.Value, error) {
	v, ok := given[field.Name]
	if !ok {
		return nil, featurestore.Errorf(featurestore.Invalid, "request: field %q is missing; feature %q is computed from it", field.Name, field.For)
	}
	n := length(v)
	if n == 0 {
		return nil, featurestore.Errorf(featurestore.Invalid, "request: field %q has no values; feature %q is computed from it", field.Name, field.For)
	}
	var out []featurestore.Value
	switch field.Type {
	case featurestore.Float64:
		if len(v.GetInt64())+len(v.GetDouble()) == 0 {
			break // booleans are no numbers here
		}
		numbers, err := floats("request", field.Name, &onehopv1.Values{Int64: v.GetInt64(), Double: v.GetDouble()})
		if err != nil {
			return nil, err
		}
		out = valuesOf(numbers, featurestore.FloatValue)
	case featurestore.Int64:
		out = valuesOf(v.GetInt64(), featurestore.IntValue)
	case featurestore.Bool:
		out = valuesOf(v.GetBool(), featurestore.BoolValue)
	default:
		out = valuesOf(v.GetString_(), featurestore.StringValue)
	}
	switch {
	case n != len(out):
		return nil, featurestore.Errorf(featurestore.Invalid, "request: field %q must be given as %s only", field.Name, field.Type)
	case n > maxRows:
		return nil, featurestore.Errorf(featurestore.Invalid, "request: field %q has %d values; at most %d are allowed in a request", field.Name, n, maxRows)
	}
	return out, nil
}

func valuesOf[T any](from []T, value func(T) featurestore.Value) []featurestore.Value {
	out := make([]featurestore.Value, len(from))
	for i := range from {
		out[i] = value(from[i])
	}
	return out
}

// requestFields takes the request fields of a plan. More rows than there are keys come of
// fields with more values; what has one value holds for every row.
func requestFields(p *plan.Plan, given map[string]*onehopv1.Values, rows int) ([][]featurestore.Value, int, error) {
	fields, names := make([][]featurestore.Value, len(p.Request)), make([]string, len(p.Request))
	for i := range p.Request {
		var err error
		if fields[i], err = fieldValues(&p.Request[i], given); err != nil {
			return nil, 0, err
		}
		names[i] = p.Request[i].Name
		if rows <= 1 {
			rows = max(rows, len(fields[i]))
		}
	}
	for i := range fields {
		if n := len(fields[i]); n != rows && n != 1 {
			return nil, 0, featurestore.Errorf(featurestore.Invalid, "request: field %q has %d values where there are %d rows", names[i], n, rows)
		}
	}
	return fields, rows, checkNames("request", given, func(name string) bool { return slices.Contains(names, name) }, names)
}

// valuesAt is a row of columns of which those of one value hold for every row, in dst.
func valuesAt(dst []featurestore.Value, columns [][]featurestore.Value, row int) []featurestore.Value {
	for i, values := range columns {
		dst[i] = values[min(row, len(values)-1)]
	}
	return dst
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
