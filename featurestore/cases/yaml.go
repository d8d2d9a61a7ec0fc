package cases

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/onehop/onehop/featurestore"
)

// exponent is a number of YAML 1.2 and of JSON that the parser takes for text: it wants a
// point.
var exponent = regexp.MustCompile(`^[-+]?[0-9]+[eE][-+]?[0-9]+$`)

// document parses a file of one document; it is nil when there is nothing in it.
func document(text []byte) (ast.Node, error) {
	tokens := lexer.Tokenize(string(text))
	for _, t := range tokens {
		if t.Type == token.StringType && exponent.MatchString(t.Value) {
			at := strings.IndexAny(t.Value, "eE")
			t.Type, t.Value = token.FloatType, t.Value[:at]+".0"+t.Value[at:]
		}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil || len(file.Docs) == 0 {
		return nil, err
	}
	return file.Docs[0].Body, nil
}

// mistake is something wrong at a node.
func mistake(node ast.Node, format string, args ...any) error {
	return &yaml.SyntaxError{Message: fmt.Sprintf(format, args...), Token: node.GetToken()}
}

// located says where in the file a mistake is.
func located(name string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	message := at.GetMessage()
	var mismatch *yaml.TypeError
	if errors.As(err, &mismatch) { // its own words are about Go
		want := "a whole number"
		if mismatch.DstType.Kind() == reflect.String {
			want = "text"
		}
		message = fmt.Sprintf("%q is not %s", shorten(at.GetToken().Value), want)
	}
	p := at.GetToken().Position
	return fmt.Errorf("%s:%d:%d: %s", name, p.Line, p.Column, message)
}

// lineOf is the line on which a node begins.
func lineOf(node ast.Node) int { return node.GetToken().Position.Line }

// placed reads a struct and the line on which it begins, which is a field of it.
func placed(node ast.Node, into any, line *int) error {
	err := yaml.NodeToValue(node, into, yaml.Strict())
	*line = lineOf(node)
	return err
}

// The UnmarshalYAML methods implement yaml.NodeUnmarshaler.

// UnmarshalYAML reads a case.
func (c *Case) UnmarshalYAML(node ast.Node) error {
	type plain Case
	return placed(node, (*plain)(c), &c.line)
}

// UnmarshalYAML reads an event.
func (e *Event) UnmarshalYAML(node ast.Node) error {
	type plain Event
	return placed(node, (*plain)(e), &e.line)
}

// UnmarshalYAML reads a read.
func (r *Read) UnmarshalYAML(node ast.Node) error {
	type plain Read
	return placed(node, (*plain)(r), &r.line)
}

// UnmarshalYAML reads a rejection.
func (r *Rejected) UnmarshalYAML(node ast.Node) error {
	type plain Rejected
	return placed(node, (*plain)(r), &r.line)
}

// UnmarshalYAML reads the counts of views.
func (c *counts) UnmarshalYAML(node ast.Node) error {
	views, ok := node.(ast.MapNode)
	if !ok {
		return mistake(node, "\"counts\" must be a mapping from views to outcomes")
	}
	for view := views.MapRange(); view.Next(); {
		outcomes, ok := view.Value().(ast.MapNode)
		if !ok {
			return mistake(view.Key(), "the counts of a view must be a mapping such as {folded: 1}")
		}
		for outcome := outcomes.MapRange(); outcome.Next(); {
			one := count{line: lineOf(outcome.Key()), view: view.Key().GetToken().Value, outcome: outcome.Key().GetToken().Value}
			if err := yaml.NodeToValue(outcome.Value(), &one.events); err != nil {
				return err
			}
			*c = append(*c, one)
		}
	}
	return nil
}

// UnmarshalYAML goes over the nodes itself, because a null has no place of its own
// otherwise.
func (e *expectations) UnmarshalYAML(node ast.Node) error {
	m, ok := node.(ast.MapNode)
	if !ok {
		return mistake(node, "\"expect\" must be a mapping from columns to values, such as {view.column: 1}")
	}
	for entries := m.MapRange(); entries.Next(); {
		one, err := newExpected(entries.Key().GetToken().Value, entries.Value())
		if err != nil {
			return err
		}
		*e = append(*e, one)
	}
	return nil
}

func newExpected(column string, node ast.Node) (expected, error) {
	e := expected{column: column, line: lineOf(node), status: featurestore.Present.String()}
	if _, ok := node.(ast.MapNode); ok {
		var explicit struct {
			Status *string `yaml:"status"`
			Value  any     `yaml:"value"`
		}
		if err := yaml.NodeToValue(node, &explicit, yaml.Strict()); err != nil {
			return e, err
		}
		e.value = explicit.Value
		switch {
		case explicit.Status != nil:
			e.status = *explicit.Status
		case e.value == nil: // status: NULL, which is null in YAML
			e.status = featurestore.Null.String()
		}
		return e, knownStatus(node, column, e.status)
	}
	if err := yaml.NodeToValue(node, &e.value); err != nil {
		return e, err
	}
	if e.value == nil {
		e.status = featurestore.Null.String()
	}
	return e, nil
}

func knownStatus(node ast.Node, column, status string) error {
	var names []string
	for s := featurestore.Present; s <= featurestore.Overflow; s++ {
		names = append(names, s.String())
	}
	if !slices.Contains(names, status) {
		return mistake(node, "%s: unknown status %q; there are %s", column, shorten(status), strings.Join(names, ", "))
	}
	return nil
}

// moment is a time in microseconds, written as RFC 3339; the zero moment is none.
type moment struct {
	us    int64
	given bool
}

// UnmarshalYAML reads a time.
func (m *moment) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken().Value
	t, err := featurestore.ParseTime(text)
	if err != nil {
		return mistake(node, "%q is no time such as 2026-01-02T15:04:05Z", shorten(text))
	}
	*m = moment{us: t.UnixMicro(), given: true}
	return nil
}
