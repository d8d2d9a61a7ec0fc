package featurestore

import (
	"fmt"
	"strings"
	"time"
)

// Ref names a column: the view and the column within it, written "view.column".
type Ref struct {
	View, Column string
}

// String is the reference as written in definitions.
func (r Ref) String() string { return r.View + "." + r.Column }

// ParseRef reads "view.column".
func ParseRef(s string) (Ref, error) {
	view, column, ok := strings.Cut(s, ".")
	if !ok || view == "" || column == "" {
		return Ref{}, fmt.Errorf("%q is not a feature; write view.feature", s)
	}
	return Ref{View: view, Column: column}, nil
}

// Service is a feature service: a named, ordered list of columns, the columns of
// a vector.
type Service struct {
	Name    string
	Columns []Ref
	// Log says what of the vectors served is logged.
	Log Log `json:",omitzero"`
}

// Log says how much of what is served goes to the serving log.
type Log struct {
	// Sample is the share of requests that is logged, 0 for none and 1 for all.
	Sample float64
	// Retention is how long their vectors are kept at least.
	Retention time.Duration
}

// The serving log is a source that a catalog has beside those that its definitions name, when
// anything of it is logged.
const (
	// ServedSource is the name of the serving log.
	ServedSource = "served"
	// DefaultLogRetention is how long the serving log is kept where no definition says.
	DefaultLogRetention = 30 * 24 * time.Hour
)

// Model is what definitions say of a model: which features it may read, which
// entity its candidates are, which fields a request brings. The artifact, its
// version and the order of its columns live in the model repository.
type Model struct {
	Name    string
	Service string
	// Candidates names the entity of which a request brings many; the other
	// entities of the service are shared by all candidates.
	Candidates string
	// Request lists the numeric fields that a request brings.
	Request []Field
	// Log says what of the predictions given, and their vectors, is logged.
	Log Log `json:",omitzero"`
}
