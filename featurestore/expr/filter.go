package expr

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/onehop/onehop/featurestore"
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
	if err := checkLength(text); err != nil {
		return nil, err
	}
	var variables []cel.EnvOption
	f := &Filter{fields: map[string]int{}}
	for i, field := range source.Fields {
		variables = append(variables, cel.Variable(field.Name, celType(field.Type, field.Required)))
		f.fields[field.Name] = i
	}
	env, err := newEnv(variables...)
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
	f.program, err = program(env, ast, maxCost)
	return f, err
}

// Evaluation evaluates a filter for one event after the other. It is not safe for
// concurrent use.
type Evaluation struct {
	filter    *Filter
	variables activation
}

// Evaluate makes an evaluation.
func (f *Filter) Evaluate() *Evaluation {
	return &Evaluation{filter: f, variables: activation{places: f.fields}}
}

// Passes says whether the condition is true of an event's values, which stand in the
// order of the source's fields. Null is a value that equals only null; a condition that
// cannot be evaluated, for an order or a function of a null or a division by zero, is not
// true.
func (e *Evaluation) Passes(values []featurestore.Value) bool {
	e.variables.values = values
	out, _, err := e.filter.program.Eval(&e.variables)
	e.variables.values = nil
	return err == nil && out == types.True
}
