package definition

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// Kind says what a change does.
type Kind string

// The kinds of changes.
const (
	Create Kind = "create"
	Update Kind = "update"
	Delete Kind = "delete"
)

// Change is what happens to one noun when a catalog takes the place of another.
type Change struct {
	Kind Kind
	// Noun is "entity", "source", "feature view", "on-demand group", "feature service" or
	// "model".
	Noun string
	Name string
	// Details are lines for a person: "ttl: 30d → 90d", "+ feature mean_rating (mean of
	// rating over 1h, 30d)". A delete has none.
	Details []string
	// NewState says that a feature view needs a new generation: its rows are filled anew.
	NewState bool
	// RowBytes is, with NewState, the most bytes that a row of the view can take, see
	// [fold.Program.MaxRowBytes].
	RowBytes int
}

// Diff lists what changes from one checked catalog to another, nothing when they say
// the same. before is nil when nothing is applied yet. Versions, times of effect and
// generations are not compared.
func Diff(before, after *featurestore.Catalog) []Change {
	if before == nil {
		before = &featurestore.Catalog{}
	}
	changes := compare("entity", before.Entities, after.Entities,
		func(e *featurestore.Entity) string { return e.Name }, entityDetails)
	changes = append(changes, compare("source", before.Sources, after.Sources,
		func(s *featurestore.Source) string { return s.Name }, sourceDetails)...)
	views := compare("feature view", before.Views, after.Views,
		func(v *featurestore.View) string { return v.Name }, viewDetails)
	changes = append(changes, withNewState(views, before, after)...)
	changes = append(changes, compare("on-demand group", before.OnDemand, after.OnDemand,
		func(o *featurestore.OnDemand) string { return o.Name }, onDemandDetails)...)
	changes = append(changes, compare("feature service", before.Services, after.Services,
		func(s *featurestore.Service) string { return s.Name }, serviceDetails)...)
	return append(changes, compare("model", before.Models, after.Models,
		func(m *featurestore.Model) string { return m.Name }, modelDetails)...)
}

// compare lists the changes of one noun: creates and updates in the order of after,
// then deletes.
func compare[T any](noun string, before, after []T, name func(*T) string, details func(before, after *T) []string) []Change {
	var changes []Change
	for i := range after {
		change := Change{Kind: Create, Noun: noun, Name: name(&after[i])}
		old := new(T)
		if j := slices.IndexFunc(before, func(t T) bool { return name(&t) == change.Name }); j >= 0 {
			change.Kind, old = Update, &before[j]
		}
		change.Details = details(old, &after[i])
		if change.Kind == Create || len(change.Details) > 0 {
			changes = append(changes, change)
		}
	}
	for i := range before {
		n := name(&before[i])
		if !slices.ContainsFunc(after, func(t T) bool { return name(&t) == n }) {
			changes = append(changes, Change{Kind: Delete, Noun: noun, Name: n})
		}
	}
	return changes
}

// withNewState marks the views whose rows cannot be gone on with. A view may need that
// though nothing of it changed: because a field of its source became required.
func withNewState(changes []Change, before, after *featurestore.Catalog) []Change {
	next := 0 // where the view's change belongs
	for i := range after.Views {
		view := &after.Views[i]
		at := slices.IndexFunc(changes, func(c Change) bool { return c.Name == view.Name && c.Kind != Delete })
		if at >= 0 {
			next = at + 1
		}
		old := before.View(view.Name)
		program := compile(after, view)
		if old != nil && compile(before, old).Fingerprint() == program.Fingerprint() {
			continue
		}
		if at < 0 {
			at = next
			next++
			changes = slices.Insert(changes, at, Change{
				Kind: Update, Noun: "feature view", Name: view.Name,
				Details: []string{"what is kept of its source's fields changes"},
			})
		}
		changes[at].NewState, changes[at].RowBytes = true, program.MaxRowBytes()
	}
	return changes
}

// compile compiles a checked view, which does not fail. It is that of no features where
// the catalog was not checked.
func compile(c *featurestore.Catalog, view *featurestore.View) *fold.Program {
	if source := c.Source(view.Source); source != nil {
		if program, err := fold.Compile(view, source); err == nil {
			return program
		}
	}
	return &fold.Program{}
}

// details collects the lines of one change.
type details []string

// value adds a line for a value that changed; "" is none.
func (d *details) value(name, before, after string) {
	switch {
	case before == after:
	case before == "":
		*d = append(*d, name+": "+after)
	case after == "":
		*d = append(*d, name+": "+before+" → none")
	default:
		*d = append(*d, name+": "+before+" → "+after)
	}
}

// list adds a line for each part of a list that came, changed or went. Parts are a
// name and what is said of it.
func (d *details) list(noun string, before, after [][2]string) {
	find := func(list [][2]string, name string) int {
		return slices.IndexFunc(list, func(p [2]string) bool { return p[0] == name })
	}
	added, removed := 0, 0
	for _, p := range after {
		switch i := find(before, p[0]); {
		case i < 0:
			added++
			*d = append(*d, "+ "+noun+" "+p[0]+parenthesised(p[1]))
		case before[i][1] != p[1]:
			*d = append(*d, fmt.Sprintf("~ %s %s: %s → %s", noun, p[0], orNone(before[i][1]), orNone(p[1])))
		}
	}
	for _, p := range before {
		if find(after, p[0]) < 0 {
			removed++
			*d = append(*d, "- "+noun+" "+p[0]+parenthesised(p[1]))
		}
	}
	if added+removed == 0 && !slices.EqualFunc(before, after, func(a, b [2]string) bool { return a[0] == b[0] }) {
		*d = append(*d, "order of "+noun+"s: "+firsts(before)+" → "+firsts(after))
	}
}

func parenthesised(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func firsts(list [][2]string) string {
	all := make([]string, len(list))
	for i := range list {
		all[i] = list[i][0]
	}
	return strings.Join(all, ", ")
}

func age(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return featurestore.FormatDuration(d)
}
