package expr

import (
	"math"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/onehop/onehop/featurestore"
)

// step evaluates an expression over numbers, bools and nulls without allocating. It means
// what CEL means, for the operators of [compileNumeric].
type step func(inputs []featurestore.Value) scalar

// scalar is an int64, a float64 or a bool, as in a [featurestore.Value]; null, when its type
// is 0; or nothing, when it cannot be evaluated.
type scalar struct {
	typ featurestore.Type
	num uint64
}

// failed is the type of what cannot be evaluated.
const failed featurestore.Type = 0xff

func integer(v int64) scalar   { return scalar{featurestore.Int64, uint64(v)} }
func float(v float64) scalar   { return scalar{featurestore.Float64, math.Float64bits(v)} }
func (s scalar) int() int64    { return int64(s.num) }
func (s scalar) real() float64 { return math.Float64frombits(s.num) }

func boolean(v bool) scalar {
	if v {
		return scalar{featurestore.Bool, 1}
	}
	return scalar{featurestore.Bool, 0}
}

// value is the feature that a scalar is.
func (s scalar) value() featurestore.Value {
	if s.typ == failed || s.typ == featurestore.Float64 && !finite(s.real()) {
		return featurestore.Value{}
	}
	return featurestore.Value{Type: s.typ, Num: s.num}
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// numeric compiles a checked expression.
type numeric struct {
	ast    *ast.AST
	places map[string]int
}

// compileNumeric compiles calculations, comparisons, conditions and conversions of numbers;
// nil for an expression that has anything else, which CEL evaluates.
func compileNumeric(checked *ast.AST, places map[string]int) step {
	c := &numeric{ast: checked, places: places}
	return c.compile(checked.Expr())
}

func (c *numeric) compile(x ast.Expr) step {
	switch x.Kind() {
	case ast.LiteralKind:
		return literal(x)
	case ast.IdentKind, ast.SelectKind:
		return c.input(x)
	case ast.CallKind:
		var args []step
		for _, arg := range x.AsCall().Args() {
			s := c.compile(arg)
			if s == nil {
				return nil
			}
			args = append(args, s)
		}
		if x.AsCall().IsMemberFunction() {
			return nil
		}
		return call(x.AsCall().FunctionName(), args)
	default:
		return nil
	}
}

func literal(x ast.Expr) step {
	var s scalar
	switch v := x.AsLiteral().(type) {
	case types.Int:
		s = integer(int64(v))
	case types.Double:
		s = float(float64(v))
	case types.Bool:
		s = boolean(bool(v))
	case types.Null:
	default:
		return nil
	}
	return func([]featurestore.Value) scalar { return s }
}

// input reads an input that is a number or a bool.
func (c *numeric) input(x ast.Expr) step {
	reference, ok := c.ast.ReferenceMap()[x.ID()]
	if !ok {
		return nil
	}
	at, ok := c.places[reference.Name]
	if !ok {
		return nil
	}
	switch c.ast.GetType(x.ID()).Kind() {
	case types.IntKind, types.DoubleKind, types.BoolKind:
		return func(inputs []featurestore.Value) scalar { return scalar{inputs[at].Type, inputs[at].Num} }
	default:
		return nil
	}
}

func call(function string, args []step) step {
	switch {
	case len(args) == 3 && function == operators.Conditional:
		return conditional(args[0], args[1], args[2])
	case len(args) == 2 && function == operators.LogicalAnd:
		return logical(args[0], args[1], false)
	case len(args) == 2 && function == operators.LogicalOr:
		return logical(args[0], args[1], true)
	case len(args) == 2 && binary[function] != nil:
		return apply(binary[function], args[0], args[1])
	case len(args) == 1 && unary[function] != nil:
		of, a := unary[function], args[0]
		return func(inputs []featurestore.Value) scalar { return of(a(inputs)) }
	default:
		return nil
	}
}

func conditional(condition, yes, no step) step {
	return func(inputs []featurestore.Value) scalar {
		switch c := condition(inputs); {
		case c.typ != featurestore.Bool:
			return scalar{typ: failed}
		case c.num != 0:
			return yes(inputs)
		default:
			return no(inputs)
		}
	}
}

// logical is "and", which false decides, or "or", which true decides: whatever the other side
// is, even if it cannot be evaluated.
func logical(a, b step, decides bool) step {
	decided := boolean(decides)
	return func(inputs []featurestore.Value) scalar {
		x := a(inputs)
		if x == decided {
			return x
		}
		y := b(inputs)
		if y == decided || x.typ == featurestore.Bool && y.typ == featurestore.Bool {
			return y
		}
		return scalar{typ: failed}
	}
}

func apply(of func(a, b scalar) scalar, a, b step) step {
	return func(inputs []featurestore.Value) scalar {
		x := a(inputs)
		if x.typ == failed {
			return x
		}
		y := b(inputs)
		if y.typ == failed {
			return y
		}
		return of(x, y)
	}
}
