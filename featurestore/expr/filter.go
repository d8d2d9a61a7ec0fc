// Package expr evaluates the expressions of definitions, which are written in CEL, the
// Common Expression Language: typed, without loops that do not end, without input and
// output, and without a clock, so that an expression over an event gives the same answer
// whenever and wherever it is evaluated.
package expr

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/onehop/onehop/featurestore"
)

const (
	// MaxBytes is the length of the longest expression.
	MaxBytes = 1024
	// maxCost bounds the work of one evaluation, in CEL's own unit: about one for each
	// step, and one for each ten bytes of text that a function looks at.
	maxCost = 1_000_000
)

// Filter is a compiled condition over the fields of an event. It is immutable and safe
// for concurrent use; each user evaluates it through an [Evaluation] of their own.
type Filter struct {
	program cel.Program
	fields  map[string]int
	used    []string
}

// Fields are the names of the fields that the condition looks at, sorted. The caller must
// not change them.
func (f *Filter) Fields() []string { return f.used }

// NewFilter compiles a condition over a source's fields, each a variable by its name. The
// error names what is wrong in it and where.
func NewFilter(text string, source *featurestore.Source) (*Filter, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("the expression has %d bytes; at most %d are allowed", len(text), MaxBytes)
	}
	options := []cel.EnvOption{ext.Strings(), cel.ExtendedValidations(), cel.CrossTypeNumericComparisons(true)}
	f := &Filter{fields: map[string]int{}}
	for i, field := range source.Fields {
		options = append(options, cel.Variable(field.Name, celType(&field)))
		f.fields[field.Name] = i
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("the fields of source %q cannot be used in an expression: %w", source.Name, err)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("the expression gives %s; a condition gives bool", fieldTypes(ast.OutputType().String()))
	}
	for _, r := range ast.NativeRep().ReferenceMap() {
		if _, ok := f.fields[r.Name]; ok && !slices.Contains(f.used, r.Name) {
			f.used = append(f.used, r.Name)
		}
	}
	slices.Sort(f.used)
	f.program, err = env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("the expression cannot be evaluated: %w", err)
	}
	return f, nil
}

func firstIssue(issues *cel.Issues) error {
	if all := issues.Errors(); len(all) > 0 {
		message := typesInMessage.ReplaceAllStringFunc(all[0].Message, fieldTypes)
		return fmt.Errorf("column %d: %s", all[0].Location.Column()+1, message)
	}
	return issues.Err()
}

// typesInMessage finds what CEL says of types, as opposed to names that somebody wrote.
var typesInMessage = regexp.MustCompile(`(applied to|type|found) '[^']*'`)

// fieldTypes calls the types in CEL's text by their names in definitions. That a value may
// be null is left out: it is never what is wrong.
func fieldTypes(text string) string {
	text = celNullable.ReplaceAllString(text, "$1")
	text = celNumber.ReplaceAllStringFunc(text, func(name string) string {
		if name == "int" {
			return featurestore.Int64.String()
		}
		return featurestore.Float64.String()
	})
	return celList.ReplaceAllString(text, "list<$1>")
}

var (
	celNullable = regexp.MustCompile(`wrapper\((\w+)\)`)
	celNumber   = regexp.MustCompile(`\b(int|double)\b`)
	celList     = regexp.MustCompile(`\blist\((\w+)\)`)
)

// celType is a field's type in expressions; one that is not required may be null.
func celType(field *featurestore.Field) *cel.Type {
	t := scalarTypes[field.Type.Elem()]
	switch {
	case field.Type.IsList():
		return cel.ListType(t) // null lists fail when they are used, as they would in CEL
	case field.Required:
		return t
	default:
		return cel.NullableType(t)
	}
}

var scalarTypes = map[featurestore.Type]*cel.Type{
	featurestore.Int64: cel.IntType, featurestore.Float64: cel.DoubleType, featurestore.String: cel.StringType,
	featurestore.Bytes: cel.BytesType, featurestore.Bool: cel.BoolType,
}

// Evaluation evaluates a filter for one event after the other. It is not safe for
// concurrent use.
type Evaluation struct {
	filter *Filter
	values []featurestore.Value
}

// Evaluate makes an evaluation.
func (f *Filter) Evaluate() *Evaluation { return &Evaluation{filter: f} }

// Passes says whether the condition is true of an event's values, which stand in the
// order of the source's fields. Null is a value that equals only null; a condition that
// cannot be evaluated, for an order or a function of a null or a division by zero, is not
// true.
func (e *Evaluation) Passes(values []featurestore.Value) bool {
	e.values = values
	out, _, err := e.filter.program.Eval(e)
	e.values = nil
	return err == nil && out == types.True
}

// ResolveName implements CEL's Activation: the value of a field.
func (e *Evaluation) ResolveName(name string) (any, bool) {
	i, ok := e.filter.fields[name]
	if !ok {
		return nil, false
	}
	return celValue(e.values[i]), true
}

// Parent implements CEL's Activation: there is none.
func (e *Evaluation) Parent() cel.Activation { return nil }

func celValue(v featurestore.Value) ref.Val {
	switch {
	case v.IsNull():
		return types.NullValue
	case v.Type.IsList():
		elements := make([]ref.Val, len(v.List))
		for i := range v.List {
			elements[i] = celValue(v.List[i])
		}
		return types.NewRefValList(types.DefaultTypeAdapter, elements)
	}
	switch v.Type {
	case featurestore.Int64:
		return types.Int(v.Int())
	case featurestore.Float64:
		return types.Double(v.Float())
	case featurestore.Bool:
		return types.Bool(v.Bool())
	case featurestore.String:
		return types.String(v.Bytes)
	case featurestore.Bytes:
		return types.Bytes(v.Bytes)
	default:
		return types.WrapErr(errors.New("a value of no known type"))
	}
}
