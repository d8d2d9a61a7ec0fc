package stream

import (
	"strings"

	"github.com/onehop/onehop/featurestore"
)

// layout is where the fields of one version of a source are in its records.
type layout struct {
	Version
	// root is the tree of what is read from a record's value.
	root *node
	// aside are the fields in the record's key and headers.
	aside []target
	// defaults are the fields that have one.
	defaults []target
	required uint64 // bits of all required fields
	// shared are, of a record that holds several events, the places of the values that
	// all of them have; explodes says whether records do.
	shared   []int
	explodes bool
}

// node is a name in a record and what is read there: a value of some targets, or what
// lies below. Where it is the array to explode, both are of one element.
type node struct {
	name     string
	path     string // from the root, for messages
	targets  []target
	children []*node
	byName   map[string]*node
	explode  bool
}

// target says what becomes of a value.
type target struct {
	field *featurestore.Field // nil for the event time
	at    int                 // in the event's values; −1 for a field that a later version dropped
	bit   uint64              // of a required field
}

// newLayout lays out a version's fields; values go where the newest version has them.
func newLayout(v Version, newest *featurestore.Source) *layout {
	l := &layout{Version: v, root: &node{}, explodes: v.Source.Explode != ""}
	if l.explodes {
		l.root.add(strings.Split(v.Source.Explode, ".")).explode = true
	}
	count := 0
	for i := range v.Source.Fields {
		f := &v.Source.Fields[i]
		t := target{field: f, at: newest.Field(f.Name)}
		if f.Required {
			t.bit = 1 << count
			l.required |= t.bit
			count++
		}
		if f.Default != nil && t.at >= 0 {
			l.defaults = append(l.defaults, t)
		}
		steps := f.Steps()
		if steps == nil {
			l.aside = append(l.aside, t)
		} else {
			n := l.root.add(steps)
			n.targets = append(n.targets, t)
		}
		if t.at >= 0 && !v.Source.OfElement(steps) {
			l.shared = append(l.shared, t.at)
		}
	}
	if steps := v.Source.TimeSteps(); steps != nil {
		n := l.root.add(steps)
		n.targets = append(n.targets, target{at: -1})
	}
	return l
}

// add finds the node at the end of a path, made where it is not there.
func (n *node) add(steps []string) *node {
	for _, name := range steps {
		child := n.byName[name]
		if child == nil {
			child = &node{name: name, path: strings.TrimPrefix(n.path+"."+name, ".")}
			if n.byName == nil {
				n.byName = map[string]*node{}
			}
			n.byName[name] = child
			n.children = append(n.children, child)
		}
		n = child
	}
	return n
}

// draft is an event that is being put together.
type draft struct {
	values []featurestore.Value
	seen   uint64 // bits of the required fields that have a value
	time   int64  // 0 until it is found
}

func (d *draft) set(t *target, v featurestore.Value) {
	if t.at >= 0 {
		d.values[t.at] = v
	}
	if !v.IsNull() {
		d.seen |= t.bit
	}
}

// share gives an element what all elements of its record have.
func (l *layout) share(record, element *draft) {
	for _, at := range l.shared {
		element.values[at] = record.values[at]
	}
	element.seen |= record.seen
	if element.time == 0 {
		element.time = record.time
	}
}

// missing names the required fields that have no value.
func (l *layout) missing(seen uint64) []string {
	var names []string
	bit := uint64(1)
	for i := range l.Source.Fields {
		f := &l.Source.Fields[i]
		if !f.Required {
			continue
		}
		if seen&bit == 0 {
			names = append(names, f.String())
		}
		bit <<= 1
	}
	return names
}
