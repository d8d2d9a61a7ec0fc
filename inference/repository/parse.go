package repository

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

const specWanted = "want one YAML document with model, inputs and output"

// Parse reads a model.yaml; file stands for its path in errors. Unknown fields are mistakes. All mistakes are returned at once,
// joined; each is a [MistakeError].
func Parse(file string, text []byte) (*Spec, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, syntaxMistake(file, err, specWanted)
	}
	d := &decoder{file: file}
	spec := &Spec{}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return nil, &MistakeError{File: file, Line: 1, Column: 1, Message: specWanted}
	}
	root := tree.Docs[0].Body
	seen := d.fields(root, map[string]func(ast.Node){
		"model":       func(n ast.Node) { spec.Model, spec.modelAt = d.name(n), d.at(n) },
		"description": func(n ast.Node) { spec.Description = d.text(n) },
		"inputs":      func(n ast.Node) { spec.Inputs = d.inputs(n) },
		"output":      func(n ast.Node) { spec.Output, spec.outputAt = d.text(n), d.at(n) },
		"batching":    func(n ast.Node) { spec.Batching = d.batching(n) },
		"cache":       func(n ast.Node) { spec.Cache = d.cache(n) },
		"runtime":     func(n ast.Node) { spec.Threads, spec.Provider = d.runtime(n) },
		"remote":      func(n ast.Node) { spec.Remote = d.remote(n) },
	})
	d.require(root, seen, "model", "inputs", "output")
	if seen["runtime"] && seen["remote"] {
		d.reportf(root, "\"runtime\" is of models that run here, and \"remote\" of those that do not: give one of them")
	}
	if spec.Provider.Graphs && len(spec.Batching.Sizes) == 0 {
		d.reportf(d.graphs, "cuda_graph captures one graph for each number of rows that runs have: say which by batching: {sizes: […]}")
	}
	return spec, errors.Join(d.mistakes...)
}

// syntaxMistake is what is no YAML; wanted says what is expected.
func syntaxMistake(file string, err error, wanted string) error {
	var positioned interface {
		GetMessage() string
	}
	mistake := &MistakeError{File: file, Line: 1, Column: 1, Message: err.Error()}
	if errors.As(err, &positioned) {
		mistake.Message = positioned.GetMessage()
	}
	var line, column int
	if _, scanErr := fmt.Sscanf(err.Error(), "[%d:%d]", &line, &column); scanErr == nil {
		mistake.Line, mistake.Column = line, column
	}
	mistake.Message += "; " + wanted
	return mistake
}

// decoder walks the syntax tree, so that every mistake has its place and none hides the next.
type decoder struct {
	file     string
	mistakes []error
	graphs   ast.Node // cuda_graph, where it is given
}

func (d *decoder) at(n ast.Node) position {
	place := n.GetToken().Position
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		place = m.Values[0].Key.GetToken().Position // the mapping's own token is its first colon
	}
	return position{file: d.file, line: place.Line, column: place.Column}
}

func (d *decoder) reportf(n ast.Node, format string, args ...any) {
	d.mistakes = append(d.mistakes, d.at(n).mistakef(format, args...))
}

// fields calls the function of each key of a mapping and returns the keys seen.
func (d *decoder) fields(n ast.Node, known map[string]func(ast.Node)) map[string]bool {
	seen := map[string]bool{}
	mapping, ok := n.(ast.MapNode)
	if !ok {
		d.reportf(n, "want a mapping, not %s", n.Type())
		return nil
	}
	for pairs := mapping.MapRange(); pairs.Next(); {
		key := pairs.Key().GetToken().Value
		switch decode := known[key]; {
		case decode == nil:
			d.reportf(pairs.Key(), "unknown field %q", key)
		case seen[key]:
			d.reportf(pairs.Key(), "field %q appears twice", key)
		default:
			decode(pairs.Value())
		}
		seen[key] = true
	}
	return seen
}

func (d *decoder) require(n ast.Node, seen map[string]bool, keys ...string) {
	for _, key := range keys {
		if seen != nil && !seen[key] {
			d.reportf(n, "field %q is missing", key)
		}
	}
}

func (d *decoder) sequence(n ast.Node) []ast.Node {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok || len(sequence.Values) == 0 {
		d.reportf(n, "want a list with at least one entry")
		return nil
	}
	return sequence.Values
}

func (d *decoder) inputs(n ast.Node) []Input {
	var inputs []Input
	tensors := map[string]bool{}
	for _, entry := range d.sequence(n) {
		input := Input{at: d.at(entry)}
		seen := d.fields(entry, map[string]func(ast.Node){
			"tensor": func(n ast.Node) {
				input.Tensor = d.text(n)
				if tensors[input.Tensor] {
					d.reportf(n, "tensor %q is listed twice", input.Tensor)
				}
				tensors[input.Tensor] = true
			},
			"columns": func(n ast.Node) { input.Columns = d.columns(n) },
		})
		d.require(entry, seen, "tensor", "columns")
		inputs = append(inputs, input)
	}
	return inputs
}

func (d *decoder) columns(n ast.Node) []Column {
	var columns []Column
	for _, entry := range d.sequence(n) {
		column := Column{at: d.at(entry)}
		if text, ok := entry.(*ast.StringNode); ok {
			column.From = d.from(text)
		} else {
			seen := d.fields(entry, map[string]func(ast.Node){
				"from":    func(n ast.Node) { column.From = d.from(n) },
				"default": func(n ast.Node) { column.Default, column.Text = d.value(n) },
				"length":  func(n ast.Node) { column.Length = d.whole(n, maxColumnLength) },
			})
			d.require(entry, seen, "from")
		}
		columns = append(columns, column)
	}
	return columns
}

func (d *decoder) from(n ast.Node) string {
	text := d.text(n)
	if text != "" && !columnPattern.MatchString(text) {
		d.reportf(n, "%q is no column: want view.feature or request.field, in lower case", text)
	}
	return text
}

func (d *decoder) name(n ast.Node) string {
	text := d.text(n)
	if text != "" && !namePattern.MatchString(text) {
		d.reportf(n, "%q is no name: want a lower-case letter, then up to 62 lower-case letters, digits and underscores", text)
	}
	return text
}

func (d *decoder) text(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		if n.Value == "" {
			d.reportf(n, "want text, not an empty string")
		}
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	default:
		d.reportf(n, "want text, not %s", n.Type())
		return ""
	}
}

// value reads a finite number or a text, or null for none.
func (d *decoder) value(n ast.Node) (number *float64, text *string) {
	if t, ok := n.(*ast.StringNode); ok {
		return nil, &t.Value
	}
	if n.Type() == ast.NullType {
		return nil, nil
	}
	return d.number(n), nil
}

// number reads a finite number.
func (d *decoder) number(n ast.Node) *float64 {
	value, err := strconv.ParseFloat(n.GetToken().Value, 64)
	isNumber := n.Type() == ast.IntegerType || n.Type() == ast.FloatType
	if !isNumber || err != nil || math.IsInf(value, 0) || math.IsNaN(value) {
		d.reportf(n, "want a finite decimal number")
		return nil
	}
	return &value
}
