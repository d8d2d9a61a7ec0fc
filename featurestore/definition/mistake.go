package definition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing wrong in a definition file.
type Mistake struct {
	File         string
	Line, Column int // from 1
	Message      string
}

// String is the mistake as "file:line:column: message".
func (m Mistake) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Message)
}

// Errors is everything wrong in a set of definition files, sorted by file, line and
// column.
type Errors struct { //nolint:errname // There are many in it.
	Mistakes []Mistake
}

// Error is one line for each mistake.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// place is where something stands in a file; the zero place is nowhere.
type place struct {
	file         string
	line, column int
}

// given says whether the file has what stands here.
func (p place) given() bool { return p.line > 0 }

func (p place) String() string { return fmt.Sprintf("%s:%d:%d", p.file, p.line, p.column) }

// report collects mistakes.
type report struct {
	mistakes []Mistake
}

func (r *report) addf(at place, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{
		File: at.file, Line: max(1, at.line), Column: max(1, at.column), Message: fmt.Sprintf(format, args...),
	})
}

// err is the mistakes in order, nil if there are none.
func (r *report) err() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(r.mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Errors{Mistakes: slices.Compact(r.mistakes)}
}
