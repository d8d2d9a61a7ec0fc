package fold

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/expr"
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
	ttl         int64 // µs, 0 for never
	retention   int64 // µs, 0 for never
	filters     []*expr.Filter
	conditions  []string // the texts of the filters
	// A row has a section for each of these, in this order, and one for what dedupe
	// remembers, if the view has that.
	edges   []*edgeSpec
	kept    []*keptSpec
	sets    []*tileSet
	dedupe  *dedupe  // never folded into; nil for none
	outputs []output // one for each column of the view
}

// keptSpec is one kept state of a row.
type keptSpec struct {
	agg     *aggregate // nil for a ring
	feature *featurestore.Feature
	field   int // −1 for every event
	filter  int // −1 for none
	typ     featurestore.Type
	bound   bound

	exact   int           // of a ring: how many events
	longest time.Duration // of a ring: the longest window
}

func (k *keptSpec) new() kept {
	if k.exact > 0 {
		return newRing(k)
	}
	return k.agg.keep(k)
}

func (k *keptSpec) maxBytes() int {
	if k.exact > 0 {
		return k.ringBytes()
	}
	return k.agg.keptBytes(k)
}

// output says how a column is read: from which section, by which aggregate.
type output struct {
	section int // the edges, then kept states, then tile sets
	at      int // of a value within its edge
	agg     *aggregate
	feature *featurestore.Feature
	window  featurestore.Window
	typ     featurestore.Type // of the field
	columns []int             // of the tile set, for a tiled aggregate
	set     *tileSet
	ring    *ringReader
	edge    *edgeSpec
	kept    *keptSpec
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
		_, err := Check(f, source)
		if err == nil {
			features[i], err = p.compile(f)
		}
		if err != nil {
			return nil, fmt.Errorf("view %q, feature %q: %w", view.Name, f.Name, err)
		}
	}
	for _, set := range p.sets {
		if len(set.specs) > maxColumns {
			return nil, fmt.Errorf("view %q keeps %d partial aggregates for the hop %s; at most %d are allowed: split the view",
				view.Name, len(set.specs), featurestore.FormatDuration(set.hop), maxColumns)
		}
	}
	if err := p.compileDedupe(); err != nil {
		return nil, fmt.Errorf("view %q: %w", view.Name, err)
	}
	p.sort()
	for _, set := range p.sets {
		set.seal()
	}
	for _, c := range view.Columns() {
		o := features[c.Feature][max(c.Window, 0)]
		o.section = p.section(&o)
		p.outputs = append(p.outputs, o)
	}
	p.fingerprint = p.hash(source)
	return p, nil
}

func (p *Program) compileDedupe() error {
	d := p.view.Dedupe
	if d.Field == "" {
		return nil
	}
	field := p.source.Field(d.Field)
	switch {
	case field < 0:
		return fmt.Errorf("dedupe: source %q has no field %q", p.source.Name, d.Field)
	case p.source.Fields[field].Type.IsList():
		return fmt.Errorf("dedupe: field %q is %s; a scalar identifies an event", d.Field, p.source.Fields[field].Type)
	case d.Last < 1 || d.Last > MaxDedupe:
		return fmt.Errorf("dedupe: last must be between 1 and %d; it is %d", MaxDedupe, d.Last)
	}
	p.dedupe = &dedupe{field: field, last: d.Last}
	return nil
}

// compile adds what a feature keeps and returns an output for each of its columns.
func (p *Program) compile(f *featurestore.Feature) ([]output, error) {
	filter, err := p.filter(f.Where)
	if err != nil {
		return nil, fmt.Errorf("where: %w", err)
	}
	k := keptSpec{
		agg: aggregates[f.Aggregate], feature: f, field: p.source.Field(f.Field), filter: filter,
		exact: f.Exact, longest: longestOf(f),
	}
	if k.field >= 0 {
		k.typ = p.source.Fields[k.field].Type
		k.bound = boundOf(&p.source.Fields[k.field])
	}
	windows := f.Windows
	if len(windows) == 0 {
		windows = []featurestore.Window{{}}
	}
	outputs := make([]output, len(windows))
	for i, w := range windows {
		outputs[i] = output{agg: k.agg, feature: f, window: w, typ: k.typ}
	}
	switch {
	case k.agg == &latestAggregate || k.agg == &firstAggregate:
		p.compileEdge(&k, &outputs[0])
	case k.exact > 0:
		reader := newRingReader(p.ring(&k), k.agg)
		for i := range outputs {
			outputs[i].ring, outputs[i].kept = reader, reader.spec
		}
	case k.agg.keep != nil:
		p.kept = append(p.kept, &k)
		for i := range outputs {
			outputs[i].kept = &k
		}
	default:
		for i := range outputs {
			p.compileTiles(&k, &outputs[i])
		}
	}
	return outputs, nil
}

// filter is the number of a filter, made on first use; −1 for no condition.
func (p *Program) filter(condition string) (int, error) {
	if condition == "" {
		return -1, nil
	}
	if i := slices.Index(p.conditions, condition); i >= 0 {
		return i, nil
	}
	f, err := expr.NewFilter(condition, p.source)
	if err != nil {
		return 0, err
	}
	p.filters, p.conditions = append(p.filters, f), append(p.conditions, condition)
	return len(p.filters) - 1, nil
}

func (p *Program) compileEdge(k *keptSpec, o *output) {
	oldest := k.agg == &firstAggregate
	i := slices.IndexFunc(p.edges, func(s *edgeSpec) bool { return s.oldest == oldest && s.filter == k.filter })
	if i < 0 {
		i, p.edges = len(p.edges), append(p.edges, &edgeSpec{oldest: oldest, filter: k.filter})
	}
	o.edge, o.at = p.edges[i], len(p.edges[i].values)
	p.edges[i].values = append(p.edges[i].values, edgeValue{field: k.field, typ: k.typ, bound: k.bound, feature: k.feature})
}

// ring is the ring that features over the same events share, made on first use and widened
// to the longest window.
func (p *Program) ring(k *keptSpec) *keptSpec {
	for _, other := range p.kept {
		if other.exact == k.exact && other.field == k.field && other.filter == k.filter {
			other.longest = max(other.longest, k.longest)
			return other
		}
	}
	p.kept = append(p.kept, k)
	return k
}

func (p *Program) compileTiles(k *keptSpec, o *output) {
	counted := k.field
	if k.field >= 0 && p.source.Fields[k.field].Required {
		counted = -1 // never null: the count of events will do, and is shared
	}
	o.set = p.set(o.window, k.agg.sketch)
	for _, kind := range k.agg.partials(k.typ) {
		spec := partialSpec{kind: kind, field: k.field, filter: k.filter}
		if kind == countPartial {
			spec.field = counted
		}
		o.columns = append(o.columns, o.set.add(spec))
	}
}

// set is the tile set for a window's hop, made on first use and widened to the
// longest window.
func (p *Program) set(w featurestore.Window, sketch bool) *tileSet {
	i := slices.IndexFunc(p.sets, func(s *tileSet) bool { return s.hop == w.Hop && s.sketch == sketch })
	if i < 0 {
		p.sets = append(p.sets, &tileSet{hop: w.Hop, sketch: sketch, longest: w})
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

// sort orders the sections: the newest event first among the edges, tile sets by hop.
func (p *Program) sort() {
	slices.SortStableFunc(p.edges, func(a, b *edgeSpec) int {
		switch {
		case a.isNewest():
			return -1
		case b.isNewest():
			return 1
		default:
			return 0
		}
	})
	slices.SortStableFunc(p.sets, func(a, b *tileSet) int { return cmp.Compare(a.hop, b.hop) })
}

// section finds the section of a row that a column is read from.
func (p *Program) section(o *output) int {
	switch {
	case o.edge != nil:
		return slices.Index(p.edges, o.edge)
	case o.kept != nil:
		return p.firstKept() + slices.Index(p.kept, o.kept)
	default:
		return p.firstSet() + slices.Index(p.sets, o.set)
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
		hashSettings(&b, &f)
		fmt.Fprint(&b, " windows")
		for _, w := range f.Windows {
			fmt.Fprintf(&b, " %d/%d", w.Length, w.Hop)
		}
		fmt.Fprintln(&b)
	}
	if d := p.view.Dedupe; d.Field != "" {
		fmt.Fprintf(&b, "dedupe %q last %d\n", d.Field, d.Last)
	}
	return xxhash.Sum64String(b.String())
}

// hashSettings writes the settings that rows depend on; how a value is read from its row,
// as the quantile and what a variance is of, is free to change.
func hashSettings(b *strings.Builder, f *featurestore.Feature) {
	if f.HalfLife != 0 {
		fmt.Fprintf(b, " half_life %d", f.HalfLife)
	}
	if f.Where != "" {
		fmt.Fprintf(b, " where %q", f.Where)
	}
	if f.Exact != 0 {
		fmt.Fprintf(b, " exact %d", f.Exact)
	}
}

// sections is the number of sections of a row.
func (p *Program) sections() int {
	n := p.firstSet() + len(p.sets)
	if p.dedupe != nil {
		n++
	}
	return n
}

// firstKept is the section of the first kept state.
func (p *Program) firstKept() int { return len(p.edges) }

// firstSet is the section of the first tile set.
func (p *Program) firstSet() int { return p.firstKept() + len(p.kept) }

// Retention is how long after its newest event a row is kept, in microseconds; 0
// is forever.
func (p *Program) Retention() int64 { return p.retention }
