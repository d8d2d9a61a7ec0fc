package definition

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/onehop/onehop/featurestore"
)

// literal is a value of a type that stands elsewhere, see [literal.as].
type literal struct {
	place
	node ast.Node
}

func (l *literal) decode(d *decoder, n ast.Node, r *rule) {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.SequenceNode:
		l.place, l.node = d.at(n), n
	default:
		d.addf(d.at(n), "%q must be a value or a list of values, not %s", r.key, kindOf(n))
	}
}

func (l *literal) schema(*rule) *schema { return &schema{} }

// as is the value as a type. Errors continue a sentence about it.
func (l *literal) as(t featurestore.Type) (featurestore.Value, error) {
	if !t.IsList() {
		return scalarAs(l.node, t)
	}
	sequence, ok := l.node.(*ast.SequenceNode)
	if !ok {
		return featurestore.Value{}, fmt.Errorf("is %s; %s is needed", kindOf(l.node), t)
	}
	list := make([]featurestore.Value, 0, len(sequence.Values))
	for _, n := range sequence.Values {
		v, err := scalarAs(n, t.Elem())
		if err != nil {
			return featurestore.Value{}, fmt.Errorf("has an element that %w", err)
		}
		list = append(list, v)
	}
	return featurestore.ListValue(t.Elem(), list), nil
}

func scalarAs(n ast.Node, t featurestore.Type) (featurestore.Value, error) {
	text := n.GetToken().Value
	switch t {
	case featurestore.Int64:
		if v, err := strconv.ParseInt(text, 0, 64); err == nil && n.Type() == ast.IntegerType {
			return featurestore.IntValue(v), nil
		}
	case featurestore.Float64:
		v, err := strconv.ParseFloat(text, 64)
		if err == nil && !math.IsInf(v, 0) && (n.Type() == ast.IntegerType || n.Type() == ast.FloatType) {
			return featurestore.FloatValue(v), nil
		}
	case featurestore.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			return featurestore.BoolValue(b.Value), nil
		}
	case featurestore.String, featurestore.Bytes:
		return textAs(n, t)
	}
	return featurestore.Value{}, fmt.Errorf("is %s; %s is needed", kindOf(n), t)
}

func textAs(n ast.Node, t featurestore.Type) (featurestore.Value, error) {
	var text string
	switch n := n.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = n.Value.Value
	default:
		return featurestore.Value{}, fmt.Errorf("is %s; %s is needed: put it in quotes", kindOf(n), t)
	}
	if t == featurestore.String {
		if strings.ContainsRune(text, 0) {
			return featurestore.Value{}, errors.New("holds a NUL character, which history cannot keep")
		}
		return featurestore.StringValue(text), nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return featurestore.Value{}, errors.New("is not base64, as which bytes are written")
	}
	return featurestore.BytesValue(raw), nil
}
