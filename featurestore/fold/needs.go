package fold

import "slices"

// What whoever brings a program its events from history has to bring.

// Fields are the indexes of the source's fields that the fold looks at, ascending: an event
// without the others gives the same row.
func (p *Program) Fields() []int {
	var fields []int
	add := func(field int) {
		if field >= 0 && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	for _, f := range p.view.Features {
		add(p.source.Field(f.Field))
	}
	for _, f := range p.filters {
		for _, name := range f.Fields() {
			add(p.source.Field(name))
		}
	}
	if p.dedupe != nil {
		add(p.dedupe.field)
	}
	slices.Sort(fields)
	return fields
}

// NewestOnly says whether a row depends on nothing but its newest event.
func (p *Program) NewestOnly() bool {
	return !p.Ordered() && len(p.kept) == 0 && len(p.sets) == 0 &&
		!slices.ContainsFunc(p.edges, func(e *edgeSpec) bool { return !e.isNewest() })
}

// Ordered says whether events must be folded in the order of each partition's log: where
// duplicates are left out and where an entity can be deleted.
func (p *Program) Ordered() bool { return p.dedupe != nil || p.source.Deletes }

// Lookback is how long before a read, in microseconds, an event can be that the read
// depends on; 0 is forever.
func (p *Program) Lookback() int64 {
	if p.Ordered() { // an event far back in time may be near in the log
		return 0
	}
	return p.retention
}
