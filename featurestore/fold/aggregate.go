package fold

import (
	"fmt"
	"maps"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// aggregate is one of the functions a feature may name. Each is one file of this
// package and one entry of the table below.
//
// There are two families. A tiled aggregate keeps partials in every tile and reads
// a run of tiles; a kept aggregate keeps values of events in the row itself.
type aggregate struct {
	// windows says whether the feature must have windows.
	windows need
	// field says whether the feature must have a field.
	field need
	// list says whether the aggregate needs n.
	list bool
	// result is the type of the feature's values for a field of type t.
	result func(t featurestore.Type) (featurestore.Type, error)

	// partials and read make a tiled aggregate: what the tiles keep of a field of
	// type t, and the value of the tiles [lo, n), given the packed columns of those
	// partials in the same order, written to a cell.
	partials func(t featurestore.Type) []partialKind
	read     func(t featurestore.Type, columns columnSet, lo, n int, cell *featurestore.Cell)

	// keep makes a kept aggregate: its state in a row for the feature's own field and
	// bound, and readKept its value of the packed state in [start, t), written to a cell.
	// latest has neither: the latest values of all features stand together in a row.
	keep func(field, n int, t featurestore.Type) kept
	// keptBytes is the most bytes of the packed state, for values of at most so many.
	keptBytes func(n, value int) int
	readKept  func(packed []byte, t featurestore.Type, start int64, cell *featurestore.Cell) error
}

type need uint8

const (
	never need = iota
	optional
	required
)

var aggregates = map[string]*aggregate{
	"latest": &latestAggregate,
	"count":  &countAggregate,
	"sum":    &sumAggregate,
	"mean":   &meanAggregate,
	"min":    &minAggregate,
	"max":    &maxAggregate,
	"last_n": &lastNAggregate,
}

// planned names the aggregates of the design that are not built yet; a definition
// that uses one is refused by name.
var planned = []string{
	"var", "stddev", "first", "distinct", "quantile", "decayed_sum", "decayed_count",
}

// Aggregates lists the names of the aggregates that exist, sorted.
func Aggregates() []string { return slices.Sorted(maps.Keys(aggregates)) }

// PlannedAggregates lists the names that are reserved and not built yet.
func PlannedAggregates() []string { return slices.Clone(planned) }

// MaxLastN is the longest last_n list.
const MaxLastN = 1000

// Check says what is wrong with a feature over the fields of a source, or returns
// the type of its values. The error names no position; the caller knows it.
func Check(f *featurestore.Feature, source *featurestore.Source) (featurestore.Type, error) {
	a, ok := aggregates[f.Aggregate]
	switch {
	case slices.Contains(planned, f.Aggregate):
		return 0, fmt.Errorf("aggregate %q is not built yet", f.Aggregate)
	case !ok:
		return 0, fmt.Errorf("unknown aggregate %q", f.Aggregate)
	case a.windows == required && len(f.Windows) == 0:
		return 0, fmt.Errorf("%s needs windows, for example [1h, 30d] or [lifetime]", f.Aggregate)
	case a.windows == never && len(f.Windows) > 0:
		return 0, fmt.Errorf("%s has no windows", f.Aggregate)
	case a.field == required && f.Field == "":
		return 0, fmt.Errorf("%s needs a field", f.Aggregate)
	case a.list && (f.N < 1 || f.N > MaxLastN):
		return 0, fmt.Errorf("%s needs n between 1 and %d; it is %d", f.Aggregate, MaxLastN, f.N)
	case !a.list && f.N != 0:
		return 0, fmt.Errorf("%s has no n", f.Aggregate)
	}
	for _, w := range f.Windows {
		if err := checkWindow(w); err != nil {
			return 0, err
		}
	}
	if f.Field == "" {
		return a.result(0)
	}
	i := source.Field(f.Field)
	if i < 0 {
		return 0, fmt.Errorf("source %q has no field %q", source.Name, f.Field)
	}
	return a.result(source.Fields[i].Type)
}

func checkWindow(w featurestore.Window) error {
	switch {
	case w.Length == featurestore.Lifetime:
		return nil
	case w.Length < 0 || w.Hop <= 0:
		return fmt.Errorf("window %s must be positive", w)
	case w.Length%w.Hop != 0:
		return fmt.Errorf("window %s is not a whole number of hops of %s", w, featurestore.FormatDuration(w.Hop))
	case w.Length/w.Hop > maxTiles-2:
		return fmt.Errorf("window %s has %d hops of %s; at most %d are allowed",
			w, w.Length/w.Hop, featurestore.FormatDuration(w.Hop), maxTiles-2)
	default:
		return nil
	}
}

func numberOnly(name string, result func(featurestore.Type) featurestore.Type) func(featurestore.Type) (featurestore.Type, error) {
	return func(t featurestore.Type) (featurestore.Type, error) {
		if !t.IsNumber() {
			return 0, fmt.Errorf("%s needs a field of type int64 or float64; it is %s", name, t)
		}
		return result(t), nil
	}
}

func sameType(t featurestore.Type) featurestore.Type { return t }
