package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/onehop/onehop/featurestore"
)

// maxElements is the length of the longest list that an expression gives, that of last_n.
const maxElements = 1000

// Scope says what type a feature "view.column", or a request field "request.name", has. Its
// error says why an expression cannot refer to it.
type Scope func(featurestore.Ref) (featurestore.Type, error)

// Expression is a compiled on-demand feature: a value computed from the values of features
// and of request fields. It is immutable and safe for concurrent use; each user evaluates it
// through a [Computation] of their own.
type Expression struct {
	program cel.Program
	numbers step // does what the program does, without allocating; nil if it cannot
	inputs  []featurestore.Ref
	places  map[string]int
	typ     featurestore.Type
}

// Inputs are what the expression refers to, in the order in which it does. The caller must
// not change them.
func (e *Expression) Inputs() []featurestore.Ref { return e.inputs }

// Type is the type of the expression's values.
func (e *Expression) Type() featurestore.Type { return e.typ }

// NewExpression compiles an expression. The error names what is wrong in it and where; an
// error of the scope can be found in it.
func NewExpression(text string, scope Scope) (*Expression, error) {
	if err := checkLength(text); err != nil {
		return nil, err
	}
	plain, err := newEnv()
	if err != nil {
		return nil, fmt.Errorf("making the environment: %w", err)
	}
	parsed, issues := plain.Parse(text)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	e := &Expression{places: map[string]int{}}
	variables, err := e.variables(parsed.NativeRep(), scope)
	if err != nil {
		return nil, err
	}
	env, err := newEnv(variables...)
	if err != nil {
		return nil, fmt.Errorf("what the expression refers to cannot be used in one: %w", err)
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, undeclared(firstIssue(issues))
	}
	if e.typ, err = resultType(checked.OutputType()); err != nil {
		return nil, err
	}
	e.numbers = compileNumeric(checked.NativeRep(), e.places)
	e.program, err = program(env, checked, maxReadCost)
	return e, err
}

// undeclared says of a name that stands alone what names look like.
func undeclared(err error) error {
	if strings.Contains(err.Error(), "undeclared reference") {
		return fmt.Errorf("%w: write view.feature, or request.name of a request field", err)
	}
	return err
}

// variables declares what is referred to.
func (e *Expression) variables(parsed *ast.AST, scope Scope) (options []cel.EnvOption, err error) {
	var selects []ast.Expr
	ast.PreOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.SelectKind && x.AsSelect().Operand().Kind() == ast.IdentKind {
			selects = append(selects, x)
		}
	}))
	column := func(x ast.Expr) int { // of the name before the dot
		return parsed.SourceInfo().GetStartLocation(x.AsSelect().Operand().ID()).Column()
	}
	slices.SortStableFunc(selects, func(a, b ast.Expr) int { return column(a) - column(b) })
	for _, x := range selects {
		name := featurestore.Ref{View: x.AsSelect().Operand().AsIdent(), Column: x.AsSelect().FieldName()}
		if x.AsSelect().IsTestOnly() {
			return nil, fmt.Errorf("column %d: every feature is there, and null where it has no value: write %s != null instead of has", column(x)+1, name)
		}
		if _, known := e.places[name.String()]; known {
			continue
		}
		typ, err := scope(name)
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", column(x)+1, err)
		}
		e.places[name.String()] = len(e.inputs)
		e.inputs = append(e.inputs, name)
		options = append(options, cel.Variable(name.String(), celType(typ, false)))
	}
	return options, nil
}

var resultTypes = map[types.Kind]featurestore.Type{
	types.IntKind: featurestore.Int64, types.DoubleKind: featurestore.Float64, types.StringKind: featurestore.String,
	types.BoolKind: featurestore.Bool,
}

// resultType is the type of the feature that an expression of a type makes.
func resultType(t *cel.Type) (featurestore.Type, error) {
	if result, ok := resultTypes[t.Kind()]; ok {
		return result, nil
	}
	if t.Kind() == types.ListKind {
		if elem, ok := resultTypes[t.Parameters()[0].Kind()]; ok {
			return featurestore.ListOf(elem), nil
		}
	}
	if t.Kind() == types.DynKind {
		return 0, errors.New("the type of the expression is known only when it is evaluated: convert what is mixed by int() or double()")
	}
	return 0, fmt.Errorf("the expression gives %s; a feature is int64, float64, bool, string or a list of them", fieldTypes(t.String()))
}

// Computation evaluates an expression for one row after the other. It is not safe for
// concurrent use.
type Computation struct {
	expression *Expression
	variables  activation
}

// Compute makes a computation.
func (e *Expression) Compute() *Computation {
	return &Computation{expression: e, variables: activation{places: e.places}}
}

// Value is the expression's value over the values of its inputs, in their order, any of which
// may be null. It is null when the expression says so, when it cannot be evaluated (an
// order, a calculation or a function of a null, a division by zero, an int64 that overflows,
// too much work), and when it is or holds a number that is not finite. It owns its memory.
// An expression over numbers and bools that only calculates, compares, decides and converts
// allocates nothing.
func (c *Computation) Value(inputs []featurestore.Value) featurestore.Value {
	if c.expression.numbers != nil {
		return c.expression.numbers(inputs).value()
	}
	return c.evaluate(inputs)
}

// evaluate lets CEL evaluate.
func (c *Computation) evaluate(inputs []featurestore.Value) featurestore.Value {
	c.variables.values = inputs
	out, _, err := c.expression.program.Eval(&c.variables)
	c.variables.values = nil
	if err != nil {
		return featurestore.Value{}
	}
	if t := c.expression.typ; t.IsList() {
		return listValue(t.Elem(), out)
	}
	return scalarValue(out)
}

// scalarValue is a value that CEL gave; null for all that no feature is.
func scalarValue(out ref.Val) featurestore.Value {
	switch v := out.(type) {
	case types.Int:
		return featurestore.IntValue(int64(v))
	case types.Double:
		if finite(float64(v)) {
			return featurestore.FloatValue(float64(v))
		}
	case types.Bool:
		return featurestore.BoolValue(bool(v))
	case types.String:
		return featurestore.StringValue(string(v))
	}
	return featurestore.Value{}
}

func listValue(elem featurestore.Type, out ref.Val) featurestore.Value {
	list, ok := out.(traits.Lister)
	if !ok {
		return featurestore.Value{}
	}
	n, ok := list.Size().(types.Int)
	if !ok || n > maxElements {
		return featurestore.Value{}
	}
	values := make([]featurestore.Value, n)
	for i := range values {
		values[i] = scalarValue(list.Get(types.Int(i)))
		if values[i].Type != elem {
			return featurestore.Value{}
		}
	}
	return featurestore.ListValue(elem, values)
}
