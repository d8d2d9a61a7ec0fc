package fold

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// Inspection is a row, decoded for people. It shares no memory with the row.
type Inspection struct {
	// Newest is the position of the newest event.
	Newest featurestore.Position
	// Stamp is the hash of the row's other bytes; Fingerprint says of which definition
	// the row is.
	Stamp, Fingerprint uint64
	// Kept are the kept values, Tiles the tile sets by hop, in the order of the row.
	Kept  []KeptInspection
	Tiles []TilesInspection
	// Identities says, by partition, how many events dedupe remembers.
	Identities map[int32]int
}

// KeptInspection is what one feature keeps in the row itself.
type KeptInspection struct {
	Feature, Aggregate string
	// Entries are the values, newest first.
	Entries []KeptEntry
}

// KeptEntry is one kept value.
type KeptEntry struct {
	Value featurestore.Value
	// At is the position of the value's event; zero where it is that of the newest.
	At featurestore.Position
}

// TilesInspection is one tile set.
type TilesInspection struct {
	// Hop is the length of a tile; 0 is the one tile of a lifetime.
	Hop time.Duration
	// Longest is the longest window that is read from these tiles.
	Longest featurestore.Window
	// Partials names what each tile keeps: "count", "sum(rating)".
	Partials []string
	// Tiles, oldest first.
	Tiles []TileInspection
}

// TileInspection is one tile.
type TileInspection struct {
	// Start is the first event time of the tile, in microseconds.
	Start int64
	// Values are the partials; null where the tile has none.
	Values []featurestore.Value
}

// Inspect decodes a row for people. It fails as [State.Decode] does.
func (p *Program) Inspect(row []byte) (*Inspection, error) {
	s := p.NewState()
	if err := s.Decode(row); err != nil {
		return nil, err
	}
	in := &Inspection{Newest: s.newest, Stamp: Stamp(row), Fingerprint: p.fingerprint}
	for _, l := range s.edges {
		in.Kept = append(in.Kept, l.inspect()...)
	}
	for i, k := range s.kept {
		spec := p.kept[i]
		kept := KeptInspection{Feature: spec.feature.Name, Aggregate: spec.feature.Aggregate, Entries: k.inspect()}
		if spec.exact > 0 {
			kept.Feature, kept.Aggregate = p.sharing(spec), fmt.Sprintf("exact %d", spec.exact)
		}
		in.Kept = append(in.Kept, kept)
	}
	if s.dedupe != nil {
		in.Identities = s.dedupe.inspect()
	}
	for _, t := range s.sets {
		in.Tiles = append(in.Tiles, p.inspectTiles(t))
	}
	return in, nil
}

func (p *Program) inspectTiles(t *tiles) TilesInspection {
	out := TilesInspection{Hop: t.set.hop, Longest: t.set.longest}
	for _, spec := range t.set.specs {
		out.Partials = append(out.Partials, p.partialName(spec))
	}
	for i, index := range t.indexes {
		tile := TileInspection{Start: index * t.set.hop.Microseconds()}
		for _, c := range t.columns {
			var v featurestore.Value
			if c, ok := c.(interface {
				inspect(i int) featurestore.Value
			}); ok {
				v = c.inspect(i)
			}
			tile.Values = append(tile.Values, v)
		}
		out.Tiles = append(out.Tiles, tile)
	}
	return out
}

var partialNames = map[partialKind]string{
	countPartial: "count", intSumPartial: "sum", floatSumPartial: "sum", floatLostPartial: "lost_of_sum",
	intMinPartial: "min", intMaxPartial: "max", floatMinPartial: "min", floatMaxPartial: "max",
	squaresPartial: "squares", distinctPartial: "distinct", quantilePartial: "quantile",
}

func (p *Program) partialName(spec partialSpec) string {
	name, ok := partialNames[spec.kind]
	if !ok {
		name = fmt.Sprintf("partial_%d", spec.kind)
	}
	if spec.field >= 0 {
		name += "(" + p.source.Fields[spec.field].Name + ")"
	}
	if spec.filter >= 0 {
		name += " where " + p.conditions[spec.filter]
	}
	return name
}

// sharing names the features that share a ring.
func (p *Program) sharing(ring *keptSpec) string {
	var names []string
	for i := range p.outputs {
		if o := &p.outputs[i]; o.kept == ring && !slices.Contains(names, o.feature.Name) {
			names = append(names, o.feature.Name)
		}
	}
	return strings.Join(names, ", ")
}

func (l *edge) inspect() []KeptInspection {
	kept := make([]KeptInspection, len(l.values))
	for i, v := range l.spec.values {
		entry := KeptEntry{Value: l.values[i].Clone()}
		if !l.spec.isNewest() {
			entry.At = l.at
		}
		kept[i] = KeptInspection{Feature: v.feature.Name, Aggregate: v.feature.Aggregate, Entries: []KeptEntry{entry}}
	}
	return kept
}

func (d *dedupe) inspect() map[int32]int {
	counts := map[int32]int{}
	for _, p := range d.partitions {
		counts[p.partition] = len(p.hashes)
	}
	return counts
}

func inspectEntries(list []lastEntry) []KeptEntry {
	entries := make([]KeptEntry, len(list))
	for i, e := range list {
		entries[i] = KeptEntry{Value: e.value.Clone(), At: e.at}
	}
	return entries
}

func (l *lastN) inspect() []KeptEntry { return inspectEntries(l.entries) }
func (r *ring) inspect() []KeptEntry  { return inspectEntries(r.entries) }

func (c *counts) inspect(i int) featurestore.Value { return featurestore.IntValue(c.tiles[i]) }

func (c *intSums) inspect(i int) featurestore.Value {
	if v, ok := c.tiles[i].int(); ok {
		return featurestore.IntValue(v)
	}
	return featurestore.FloatValue(c.tiles[i].float())
}

func (c *floatSums) inspect(i int) featurestore.Value { return featurestore.FloatValue(c.tiles[i].sum) }

func (c *floatLost) inspect(i int) featurestore.Value {
	return featurestore.FloatValue(c.of.tiles[i].lost)
}

func (c *extremes[T]) inspect(i int) featurestore.Value {
	if !c.tiles[i].some {
		return featurestore.Value{}
	}
	switch v := any(c.tiles[i].value).(type) {
	case int64:
		return featurestore.IntValue(v)
	case float64:
		return featurestore.FloatValue(v)
	default:
		return featurestore.Value{}
	}
}
