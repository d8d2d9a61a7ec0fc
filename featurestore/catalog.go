package featurestore

import "slices"

// Catalog is one version of a namespace's definitions, checked and immutable.
type Catalog struct {
	Namespace string
	// Version counts the applied versions from 1; 0 until applied.
	Version int
	// EffectiveAt is the record timestamp, in microseconds, from which on records
	// are decoded by this version.
	EffectiveAt int64
	Entities    []Entity
	Sources     []Source
	Views       []View
	OnDemand    []OnDemand `json:",omitempty"`
	Services    []Service
	Models      []Model
}

// Entity finds an entity by name, nil if there is none.
func (c *Catalog) Entity(name string) *Entity {
	return find(c.Entities, func(e *Entity) bool { return e.Name == name })
}

// Source finds a source by name, nil if there is none.
func (c *Catalog) Source(name string) *Source {
	return find(c.Sources, func(s *Source) bool { return s.Name == name })
}

// View finds a view by name, nil if there is none.
func (c *Catalog) View(name string) *View {
	return find(c.Views, func(v *View) bool { return v.Name == name })
}

// Service finds a feature service by name, nil if there is none.
func (c *Catalog) Service(name string) *Service {
	return find(c.Services, func(s *Service) bool { return s.Name == name })
}

// Model finds a model by name, nil if there is none.
func (c *Catalog) Model(name string) *Model {
	return find(c.Models, func(m *Model) bool { return m.Name == name })
}

// ViewsOf lists the views fed by a source, in declared order.
func (c *Catalog) ViewsOf(source string) []*View {
	var views []*View
	for i := range c.Views {
		if c.Views[i].Source == source {
			views = append(views, &c.Views[i])
		}
	}
	return views
}

// Lookups lists the fields by which events of a source are looked up: for each view that it
// feeds those of its join keys, each list once.
func (c *Catalog) Lookups(source string) (keys [][]string) {
	for _, view := range c.ViewsOf(source) {
		if !slices.ContainsFunc(keys, func(k []string) bool { return slices.Equal(k, view.JoinFields) }) {
			keys = append(keys, view.JoinFields)
		}
	}
	return keys
}

func find[T any](list []T, is func(*T) bool) *T {
	i := slices.IndexFunc(list, func(t T) bool { return is(&t) })
	if i < 0 {
		return nil
	}
	return &list[i]
}
