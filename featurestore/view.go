package featurestore

import (
	"slices"
	"strconv"
	"time"
)

// Lifetime is the window that never ends.
const Lifetime time.Duration = 0

// View is a feature view: named features of one entity, folded from one source.
type View struct {
	Name   string
	Entity string
	Source string
	// JoinFields names, for each of the entity's join keys in order, the field of
	// the source that holds it.
	JoinFields []string
	// TTL is how old the newest event may be before the values are Expired; 0 means
	// forever.
	TTL time.Duration
	// NearCache is how old a copy of a row may be that a service keeps in its memory; 0 means that none is kept.
	NearCache time.Duration `json:",omitzero"`
	// Dedupe says which events are the same; its zero value, that none are.
	Dedupe Dedupe `json:",omitzero"`
	// Features in declared order.
	Features []Feature
	// Generation numbers the versions of the view that need a state of their own,
	// from 1; 0 until the definitions are applied.
	Generation int
}

// Dedupe says how a view knows an event that it has folded already: a row remembers the
// newest Last values of Field in each partition, and an event that brings one of them, from
// the same partition, is a duplicate and not folded. Events without the field are never
// duplicates.
type Dedupe struct {
	// Field names the field that identifies an event; empty for no deduplication.
	Field string
	// Last is how many identities a row remembers for each partition.
	Last int
}

// Feature is one feature of a view. With windows it makes one column a window,
// without it makes one column.
type Feature struct {
	Name        string
	Description string
	// Aggregate is the name of the aggregate: "latest", "count", "mean" …
	Aggregate string
	// Field is the field that is aggregated; empty for a count of events.
	Field string
	// N is the length of a last_n list.
	N int
	// Q is the quantile of a quantile feature, between 0 and 1.
	Q float64 `json:",omitzero"`
	// Of says of what a var or stddev is: of the events as a Sample of others, or of the
	// events as the whole Population.
	Of string `json:",omitzero"`
	// HalfLife is the age at which an event weighs half in a decayed sum or count.
	HalfLife time.Duration `json:",omitzero"`
	// Where is a CEL expression over the fields of an event; only events of which it is
	// true are aggregated. Empty is every event.
	Where string `json:",omitzero"`
	// Exact, when not 0, keeps so many newest events themselves in place of tiles: the
	// windows then slide exactly, and one that holds more events says OVERFLOW.
	Exact int `json:",omitzero"`
	// Windows in declared order; empty for what has none. Lifetime is a window.
	Windows []Window
	// Type of the feature's values.
	Type Type
}

// What a variance is of.
const (
	Sample     = "sample"
	Population = "population"
)

// Window is a sawtooth window: at time t it covers [floor(t − Length, Hop), t). With a hop
// of 0 it is exact: [t − Length, t).
type Window struct {
	// Length of the window; Lifetime covers everything.
	Length time.Duration
	// Hop is the granularity of the tail; 0 for Lifetime and for exact windows.
	Hop time.Duration
}

// Column is one output of a view: a feature over one of its windows.
type Column struct {
	// Name is unique within the view: the feature's name, with "_" and the window
	// appended where it has windows, as in "count_30d".
	Name string
	Type Type
	// Feature and Window index View.Features and Feature.Windows; Window is -1 for
	// a feature without windows.
	Feature, Window int
}

// Columns lists the view's columns in declared order.
func (v *View) Columns() []Column {
	var columns []Column
	for i, f := range v.Features {
		if len(f.Windows) == 0 {
			columns = append(columns, Column{Name: f.Name, Type: f.Type, Feature: i, Window: -1})
		}
		for j, w := range f.Windows {
			columns = append(columns, Column{Name: f.Name + "_" + w.String(), Type: f.Type, Feature: i, Window: j})
		}
	}
	return columns
}

// Column finds a column by name.
func (v *View) Column(name string) (Column, bool) {
	columns := v.Columns()
	i := slices.IndexFunc(columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return Column{}, false
	}
	return columns[i], true
}

// unending are the aggregates to which an event counts for ever: what a row lost when it was
// forgotten would be missed.
var unending = map[string]bool{"first": true, "decayed_sum": true, "decayed_count": true}

// Retention is how long after its newest event a row can still matter to a read
// or be changed by an acceptable event of a source that accepts events as old as
// maxAge. It is 0, meaning forever, when a feature covers a lifetime, as a decayed one
// does and the first event.
func (v *View) Retention(maxAge time.Duration) time.Duration {
	longest := v.TTL
	for _, f := range v.Features {
		if len(f.Windows) == 0 && (v.TTL == 0 || unending[f.Aggregate]) {
			return 0
		}
		for _, w := range f.Windows {
			if w.Length == Lifetime {
				return 0
			}
			longest = max(longest, w.Length+w.Hop)
		}
	}
	return longest + maxAge
}

var ladder = []time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
}

// NewWindow is the window of the given length with the hop that is chosen when a
// definition gives none: the largest of a fixed ladder that is at most a sixtieth
// of the length, and at least a second.
func NewWindow(length time.Duration) Window { return window(length, 60) }

// NewSketchWindow is the window of a sketch, whose tiles are large: its hop is the largest
// of the ladder that is at most a twelfth of the length, and at least a second.
func NewSketchWindow(length time.Duration) Window { return window(length, 12) }

func window(length time.Duration, hops int64) Window {
	if length == Lifetime {
		return Window{}
	}
	hop := ladder[0]
	for _, h := range ladder {
		if int64(h) <= int64(length)/hops {
			hop = h
		}
	}
	return Window{Length: length, Hop: hop}
}

// Start is the first event time that the window covers at time t, both in
// microseconds.
func (w Window) Start(t int64) int64 {
	switch {
	case w.Length == Lifetime:
		return 0
	case w.Hop == 0:
		return max(0, t-w.Length.Microseconds())
	default:
		return max(0, floor(t-w.Length.Microseconds(), w.Hop.Microseconds()))
	}
}

// String is the window's length as written in definitions: "30d", "90s",
// "lifetime".
func (w Window) String() string {
	if w.Length == Lifetime {
		return "lifetime"
	}
	return FormatDuration(w.Length)
}

// FormatDuration writes a duration with the largest of d, h, m, s and ms that
// divides it.
func FormatDuration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d%u.unit == 0 && d != 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q * b
}
