// Package expr evaluates the expressions of definitions, which are written in CEL, the
// Common Expression Language: typed, without loops that do not end, without input and
// output, and without a clock, so that an expression over an event gives the same answer
// whenever and wherever it is evaluated.
package expr

import (
	"errors"
	"fmt"
	"regexp"

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
	// maxReadCost is the same for an expression that is evaluated while somebody waits, once
	// for each candidate.
	maxReadCost = 20_000
)

func checkLength(text string) error {
	if len(text) > MaxBytes {
		return fmt.Errorf("the expression has %d bytes; at most %d are allowed", len(text), MaxBytes)
	}
	return nil
}

// newEnv is what every expression may use, with the variables of one.
func newEnv(variables ...cel.EnvOption) (*cel.Env, error) {
	return cel.NewEnv(append([]cel.EnvOption{
		ext.Strings(), ext.Math(), cel.ExtendedValidations(), cel.CrossTypeNumericComparisons(true),
	}, variables...)...)
}

// program plans a checked expression, of which an evaluation may cost at most so much.
func program(env *cel.Env, ast *cel.Ast, cost uint64) (cel.Program, error) {
	p, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(cost))
	if err != nil {
		return nil, fmt.Errorf("the expression cannot be evaluated: %w", err)
	}
	return p, nil
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

// celType is a type in expressions; of what is not required, values may be null.
func celType(of featurestore.Type, required bool) *cel.Type {
	t := scalarTypes[of.Elem()]
	switch {
	case of.IsList():
		return cel.ListType(t) // null lists fail when they are used, as they would in CEL
	case required:
		return t
	default:
		return cel.NullableType(t)
	}
}

var scalarTypes = map[featurestore.Type]*cel.Type{
	featurestore.Int64: cel.IntType, featurestore.Float64: cel.DoubleType, featurestore.String: cel.StringType,
	featurestore.Bytes: cel.BytesType, featurestore.Bool: cel.BoolType,
}

// activation is CEL's Activation over values that stand at known places.
type activation struct {
	places map[string]int
	values []featurestore.Value
}

// ResolveName implements CEL's Activation: the value of a variable.
func (a *activation) ResolveName(name string) (any, bool) {
	i, ok := a.places[name]
	if !ok {
		return nil, false
	}
	return celValue(a.values[i]), true
}

// Parent implements CEL's Activation: there is none.
func (a *activation) Parent() cel.Activation { return nil }

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
