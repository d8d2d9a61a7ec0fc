package fold

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// aggregate is one of the functions a feature may name. Each is one file of this
// package and one entry of the table below.
//
// There are three families. A tiled aggregate keeps partials in every tile and reads
// a run of tiles; with exact: N it keeps events in a ring instead, and reads the partials
// of those. A kept aggregate keeps a state of its own in the row. An edge is the value of
// one event, the newest or the oldest.
type aggregate struct {
	// windows says whether the feature must have windows.
	windows need
	// field says whether the feature must have a field.
	field need
	// takes names the settings of its own that the feature must have.
	takes setting
	// sketch says that its tiles are large, and so its hops long.
	sketch bool
	// result is the type of the feature's values for a field of type t.
	result func(t featurestore.Type) (featurestore.Type, error)

	// partials and read make a tiled aggregate: what the tiles keep of a field of
	// type t, and the value of the tiles [lo, n), given the packed columns of those
	// partials in the same order, written to a cell.
	partials func(t featurestore.Type) []partialKind
	read     func(o *output, columns columnSet, lo, n int, cell *featurestore.Cell)
	// readExact, where the partials are not exact, is the value of events from a ring; it
	// may change the order of values.
	readExact func(o *output, values []featurestore.Value, cell *featurestore.Cell)

	// keep makes a kept aggregate: its state in a row; keptBytes is the most bytes of the
	// packed state, and readKept its value over a span, written to a cell.
	keep      func(k *keptSpec) kept
	keptBytes func(k *keptSpec) int
	readKept  func(packed []byte, o *output, over span, cell *featurestore.Cell) error
}

// span is a stretch of event time, [from, to) in µs.
type span struct{ from, to int64 }

type need uint8

const (
	never need = iota
	optional
	required
)

// setting is a set of the settings that some aggregates have.
type setting uint8

const (
	takesN setting = 1 << iota
	takesQ
	takesOf
	takesHalfLife
)

var aggregates = map[string]*aggregate{
	"latest":        &latestAggregate,
	"first":         &firstAggregate,
	"count":         &countAggregate,
	"sum":           &sumAggregate,
	"mean":          &meanAggregate,
	"min":           &minAggregate,
	"max":           &maxAggregate,
	"var":           &varAggregate,
	"stddev":        &stddevAggregate,
	"last_n":        &lastNAggregate,
	"distinct":      &distinctAggregate,
	"quantile":      &quantileAggregate,
	"decayed_sum":   &decayedSumAggregate,
	"decayed_count": &decayedCountAggregate,
}

// Aggregates lists the names of the aggregates, sorted.
func Aggregates() []string { return slices.Sorted(maps.Keys(aggregates)) }

// Sketch says whether the named aggregate keeps a sketch in every tile, so that its hops
// are longer when the definition gives none.
func Sketch(name string) bool {
	a, ok := aggregates[name]
	return ok && a.sketch
}

// The bounds of settings.
const (
	// MaxLastN is the longest last_n list.
	MaxLastN = 1000
	// MaxExact is the most events of an exact window.
	MaxExact = 1000
	// MaxDedupe is the most identities that a row remembers for a partition.
	MaxDedupe = 1000
	// MaxHalfLife is the longest half life, 100 years.
	MaxHalfLife = 36500 * 24 * time.Hour
)

// Check says what is wrong with a feature over the fields of a source, or returns
// the type of its values. The error names no position; the caller knows it.
func Check(f *featurestore.Feature, source *featurestore.Source) (featurestore.Type, error) {
	a, ok := aggregates[f.Aggregate]
	switch {
	case !ok:
		return 0, fmt.Errorf("unknown aggregate %q", f.Aggregate)
	case a.windows == required && len(f.Windows) == 0:
		return 0, fmt.Errorf("%s needs windows, for example [1h, 30d] or [lifetime]", f.Aggregate)
	case a.windows == never && len(f.Windows) > 0:
		return 0, fmt.Errorf("%s has no windows", f.Aggregate)
	case a.field == required && f.Field == "":
		return 0, fmt.Errorf("%s needs a field", f.Aggregate)
	case f.Exact != 0 && a.partials == nil:
		return 0, fmt.Errorf("%s is exact as it is: remove \"exact\"", f.Aggregate)
	case f.Exact < 0 || f.Exact > MaxExact:
		return 0, fmt.Errorf("exact must be between 1 and %d; it is %d", MaxExact, f.Exact)
	}
	if err := checkSettings(f, a); err != nil {
		return 0, err
	}
	for _, w := range f.Windows {
		if err := checkWindow(f, a, w); err != nil {
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

// checkSettings says whether a feature has the settings of its aggregate, and no others.
func checkSettings(f *featurestore.Feature, a *aggregate) error {
	for _, s := range []struct {
		takes setting
		given bool
		good  bool
		key   string
		want  string
	}{
		{takesN, f.N != 0, f.N >= 1 && f.N <= MaxLastN, "n", fmt.Sprintf("a number from 1 to %d", MaxLastN)},
		{takesQ, f.Q != 0, f.Q > 0 && f.Q < 1, "q", "a number between 0 and 1, as 0.95"},
		{takesOf, f.Of != "", f.Of == featurestore.Sample || f.Of == featurestore.Population, "of", "sample or population"},
		{takesHalfLife, f.HalfLife != 0, f.HalfLife >= time.Second && f.HalfLife <= MaxHalfLife, "half_life", "a duration of a second or more, as 7d"},
	} {
		switch wanted := a.takes&s.takes != 0; {
		case wanted && !s.good:
			return fmt.Errorf("%s needs %q: %s", f.Aggregate, s.key, s.want)
		case !wanted && s.given:
			return fmt.Errorf("%s has no %q", f.Aggregate, s.key)
		}
	}
	return nil
}

func checkWindow(f *featurestore.Feature, a *aggregate, w featurestore.Window) error {
	switch {
	case w.Length == featurestore.Lifetime && f.Exact > 0:
		return fmt.Errorf("an exact window cannot be a lifetime: it keeps %d events", f.Exact)
	case w.Length == featurestore.Lifetime:
		return nil
	case w.Length < 0 || w.Hop < 0:
		return fmt.Errorf("window %s must be positive", w)
	case f.Exact > 0 && w.Hop != 0:
		return fmt.Errorf("window %s is exact and has no hop", w)
	case f.Exact > 0 || a.partials == nil && w.Hop == 0:
		return nil
	case w.Hop == 0:
		return fmt.Errorf("window %s needs a hop", w)
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

func alwaysFloat(featurestore.Type) featurestore.Type { return featurestore.Float64 }

// finite says whether x is a number.
func finite(x float64) bool { return !math.IsInf(x, 0) && !math.IsNaN(x) }
