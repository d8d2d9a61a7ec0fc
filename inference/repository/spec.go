package repository

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/predictions"
	"github.com/onehop/onehop/inference/provider"
	"github.com/onehop/onehop/inference/tensor"
)

// Spec is the content of a model.yaml: how a model's tensors are filled and which output ranks.
type Spec struct {
	// Model is the name, equal to the directory's.
	Model string
	// Description is for people.
	Description string
	// Inputs holds one entry per input tensor of the model, in the file's order.
	Inputs []Input
	// Batching says how requests share runs.
	Batching batching.Options
	// Provider is what computes the model.
	Provider provider.Options
	// Cache says what is kept of its answers.
	Cache predictions.Options
	// Threads is how many threads share one operator of the model; 0 means 1.
	Threads int
	// Remote says where the model lives, if elsewhere; nil means that it is in model.onnx.
	Remote *oip.Options
	// Output names the tensor whose values are the scores: shape [rows] or [rows, 1].
	Output string

	modelAt, outputAt position
}

// Input says what one tensor [rows, width] holds: its columns' widths add up to the tensor's.
type Input struct {
	Tensor  string // the name in the model
	Columns []Column
	at      position
}

// Column is one column of an input tensor.
type Column struct {
	// From is "view.feature", with the window for an aggregate ("user_ratings.count_30d"), or "request.field".
	From string
	// Default stands in for a number that is missing, and Text for a text; nil means there is none, and a request whose value is
	// missing fails.
	Default *float64
	Text    *string
	// Length is how many elements of a list the column has, from its first on; what a list lacks is the default. 0 is a column of
	// one value.
	Length int
	at     position
}

// requestPrefix marks columns that the caller of a prediction supplies.
const requestPrefix = "request."

// Width is how many elements of the tensor's rows the column has.
func (c Column) Width() int { return max(1, c.Length) }

// RequestField is the name of the request field that the column holds; ok is false for a feature's column.
func (c Column) RequestField() (field string, ok bool) {
	return strings.CutPrefix(c.From, requestPrefix)
}

// Feature splits the column into view and feature; ok is false for a request field's column.
func (c Column) Feature() (view, feature string, ok bool) {
	view, feature, _ = strings.Cut(c.From, ".")
	return view, feature, view+"." != requestPrefix
}

// MistakeError is one thing wrong in a model.yaml.
type MistakeError struct {
	File         string
	Line, Column int // from 1
	Message      string
}

// Error gives "file:line:column: message".
func (m *MistakeError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Message)
}

type position struct {
	file         string
	line, column int
}

func (p position) mistakef(format string, args ...any) *MistakeError {
	return &MistakeError{File: p.file, Line: p.line, Column: p.column, Message: fmt.Sprintf(format, args...)}
}

var (
	namePattern   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	columnPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,126}$`)
)

// Check compares the spec with what the model declares and returns all differences, joined; each is a [MistakeError] with the
// place in the spec.
func (s *Spec) Check(inputs, outputs []tensor.Info) error {
	var mistakes []error
	for _, input := range s.Inputs {
		i := slices.IndexFunc(inputs, func(info tensor.Info) bool { return info.Name == input.Tensor })
		if i < 0 {
			mistakes = append(mistakes, input.at.mistakef("the model has no input %q; it has %s", input.Tensor, tensor.List(inputs)))
			continue
		}
		mistakes = append(mistakes, input.check(inputs[i])...)
	}
	at := s.Inputs[0].at
	for _, info := range inputs {
		if !slices.ContainsFunc(s.Inputs, func(input Input) bool { return input.Tensor == info.Name }) {
			mistakes = append(mistakes, at.mistakef("input %s of the model isn't listed", info))
		}
	}
	i := slices.IndexFunc(outputs, func(info tensor.Info) bool { return info.Name == s.Output })
	switch {
	case i < 0:
		mistakes = append(mistakes, s.outputAt.mistakef("the model has no output %q; it has %s", s.Output, tensor.List(outputs)))
	case outputs[i].Width() != 1:
		mistakes = append(mistakes, s.outputAt.mistakef("output %s can't be the score: the shape must be [rows] or [rows,1]", outputs[i]))
	}
	return errors.Join(mistakes...)
}

// check compares the columns with the tensor that they fill.
func (i Input) check(info tensor.Info) (mistakes []error) {
	width := 0
	for _, column := range i.Columns {
		width += column.Width()
		switch isText := info.Type == tensor.String; {
		case isText && column.Default != nil, !isText && column.Text != nil:
			mistakes = append(mistakes, column.at.mistakef("the default of %q must be of the type of input %s", column.From, info))
		case column.Length > 0 && column.Default == nil && column.Text == nil:
			mistakes = append(mistakes, column.at.mistakef("%q has length %d: give it a default for what a list lacks", column.From, column.Length))
		}
	}
	if info.Width() != width {
		mistakes = append(mistakes, i.at.mistakef("input %s has %d elements a row, but the columns that are listed have %d", info, info.Width(), width))
	}
	if info.Type == tensor.Other {
		mistakes = append(mistakes, i.at.mistakef("input %s: columns fill float16, float, double, int32, int64 and string only", info))
	}
	return mistakes
}
