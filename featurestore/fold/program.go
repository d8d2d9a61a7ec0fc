package fold

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/onehop/onehop/featurestore"
)

// foldVersion is part of every fingerprint: it changes when the meaning of folding
// changes while definitions stay as they are.
const foldVersion = 1

// Program is a feature view compiled for folding and reading. It is immutable and
// safe for concurrent use.
type Program struct {
	view        *featurestore.View
	source      *featurestore.Source
	fingerprint uint64
	ttl         int64        // µs, 0 for never
	retention   int64        // µs, 0 for never
	latest      []latestSpec // one section for all of them, if there are any
	kept        []keptSpec
	sets        []*tileSet
	outputs     []output // one for each column of the view
}

// keptSpec is one kept value of a row: the state of a feature.
type keptSpec struct {
	agg   *aggregate
	field int
	n     int
	typ   featurestore.Type // of the field
	text  int               // the bound of the field's text, see MaxRowBytes

	feature *featurestore.Feature
}

// output says how a column is read: from which section, by which aggregate.
type output struct {
	section int // the latest values, then other kept values, then tile sets
	at      int // within the latest values, or the other kept values
	agg     *aggregate
	window  featurestore.Window
	typ     featurestore.Type // of the field
	columns []int             // of the tile set, for a tiled aggregate
}

// Compile checks a view against its source and compiles it. The view's feature
// types must be those that [Check] returned.
func Compile(view *featurestore.View, source *featurestore.Source) (*Program, error) {
	p := &Program{
		view:      view,
		source:    source,
		ttl:       view.TTL.Microseconds(),
		retention: view.Retention(source.MaxAge).Microseconds(),
	}
	features := make([][]output, len(view.Features))
	for i := range view.Features {
		f := &view.Features[i]
		if _, err := Check(f, source); err != nil {
			return nil, fmt.Errorf("view %q, feature %q: %w", view.Name, f.Name, err)
		}
		features[i] = p.compile(f, source)
	}
	for _, set := range p.sets {
		if len(set.specs) > maxColumns {
			return nil, fmt.Errorf("view %q keeps %d partial aggregates for the hop %s; at most %d are allowed: split the view",
				view.Name, len(set.specs), featurestore.FormatDuration(set.hop), maxColumns)
		}
	}
	p.sortSets(features)
	for _, c := range view.Columns() {
		p.outputs = append(p.outputs, features[c.Feature][max(c.Window, 0)])
	}
	p.fingerprint = p.hash(source)
	return p, nil
}

// compile adds what a feature keeps and returns an output for each of its columns.
func (p *Program) compile(f *featurestore.Feature, source *featurestore.Source) []output {
	agg := aggregates[f.Aggregate]
	field := source.Field(f.Field)
	var typ featurestore.Type
	text := CountedTextBytes
	if field >= 0 {
		typ = source.Fields[field].Type
		text = cmp.Or(source.Fields[field].KeyBytes, text)
	}
	windows := f.Windows
	if len(windows) == 0 {
		windows = []featurestore.Window{{}}
	}
	outputs := make([]output, len(windows))
	switch {
	case agg == &latestAggregate:
		p.latest = append(p.latest, latestSpec{field: field, typ: typ, text: text, feature: f})
		outputs[0] = output{agg: agg, typ: typ, at: len(p.latest) - 1}
		return outputs
	case agg.keep != nil:
		p.kept = append(p.kept, keptSpec{agg: agg, field: field, n: f.N, typ: typ, text: text, feature: f})
		for i, w := range windows {
			outputs[i] = output{agg: agg, window: w, typ: typ, at: len(p.kept) - 1}
		}
		return outputs
	}
	counted := field
	if field >= 0 && source.Fields[field].Required {
		counted = -1 // never null: the count of events will do, and is shared
	}
	for i, w := range windows {
		set := p.set(w)
		outputs[i] = output{agg: agg, window: w, typ: typ}
		for _, kind := range agg.partials(typ) {
			spec := partialSpec{kind: kind, field: field}
			if kind == countPartial {
				spec.field = counted
			}
			outputs[i].columns = append(outputs[i].columns, set.add(spec))
		}
	}
	return outputs
}

// set is the tile set for a window's hop, made on first use and widened to the
// longest window.
func (p *Program) set(w featurestore.Window) *tileSet {
	i := slices.IndexFunc(p.sets, func(s *tileSet) bool { return s.hop == w.Hop })
	if i < 0 {
		p.sets = append(p.sets, &tileSet{hop: w.Hop, longest: w})
		return p.sets[len(p.sets)-1]
	}
	if w.Length > p.sets[i].longest.Length {
		p.sets[i].longest = w
	}
	return p.sets[i]
}

func (s *tileSet) add(spec partialSpec) int {
	if i := slices.Index(s.specs, spec); i >= 0 {
		return i
	}
	s.specs = append(s.specs, spec)
	return len(s.specs) - 1
}

// sortSets orders the tile sets by hop and points the outputs at their sections.
func (p *Program) sortSets(features [][]output) {
	slices.SortFunc(p.sets, func(a, b *tileSet) int { return cmp.Compare(a.hop, b.hop) })
	for _, outputs := range features {
		for i := range outputs {
			switch o := &outputs[i]; {
			case o.agg == &latestAggregate:
				o.section = 0
			case o.agg.keep != nil:
				o.section = p.firstKept() + o.at
			default:
				at := slices.IndexFunc(p.sets, func(s *tileSet) bool { return s.hop == o.window.Hop })
				o.section = p.firstSet() + at
			}
		}
	}
}

// Fingerprint identifies what the view's rows hold: the definition of its state
// and the version of the fold. Views whose rows are interchangeable have equal
// fingerprints; a view whose fingerprint changes needs a new generation.
func (p *Program) Fingerprint() uint64 { return p.fingerprint }

func (p *Program) hash(source *featurestore.Source) uint64 {
	var b strings.Builder
	fmt.Fprintf(&b, "fold %d codec %d source %q entity %q join %q\n", foldVersion, codecVersion,
		p.view.Source, p.view.Entity, p.view.JoinFields)
	for _, f := range p.view.Features {
		fmt.Fprintf(&b, "%s field %q type %s n %d", f.Aggregate, f.Field, f.Type, f.N)
		if i := source.Field(f.Field); i >= 0 && source.Fields[i].Required {
			fmt.Fprint(&b, " required") // its count is that of the events, so the columns differ
		}
		fmt.Fprint(&b, " windows")
		for _, w := range f.Windows {
			fmt.Fprintf(&b, " %d/%d", w.Length, w.Hop)
		}
		fmt.Fprintln(&b)
	}
	return xxhash.Sum64String(b.String())
}

// sections is the number of sections of a row: one for all latest values, if there are
// any, one for each other kept value, one for each tile set.
func (p *Program) sections() int { return p.firstSet() + len(p.sets) }

// firstKept is the section of the first kept value that is not a latest value.
func (p *Program) firstKept() int { return min(len(p.latest), 1) }

// firstSet is the section of the first tile set.
func (p *Program) firstSet() int { return p.firstKept() + len(p.kept) }

// Retention is how long after its newest event a row is kept, in microseconds; 0
// is forever.
func (p *Program) Retention() int64 { return p.retention }
