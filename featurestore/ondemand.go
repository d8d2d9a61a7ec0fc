package featurestore

import "slices"

// RequestView is the name by which expressions and models call the fields of a request, as
// in "request.hour_of_day". No view and no on-demand group has it.
const RequestView = "request"

// OnDemand is a group of features that are computed when they are read, from other features
// and from fields of the request. It has no entity, no source and no state.
type OnDemand struct {
	Name string
	// Request lists the fields that a request, or a spine, brings: scalars, each of which
	// may be null. A field has one type in all groups of a catalog.
	Request []Field `json:",omitempty"`
	// Features in declared order.
	Features []Expression
}

// Expression is one feature that is computed when it is read.
type Expression struct {
	Name        string
	Description string `json:",omitempty"`
	// Expression is CEL over features, "view.column", and request fields, "request.name".
	Expression string
	// Type of the feature's values.
	Type Type
	// Inputs are the features and, with [RequestView] as their view, the request fields that
	// the expression reads, in the order in which they stand in it.
	Inputs []Ref
}

// Feature finds a feature by name, nil if there is none.
func (o *OnDemand) Feature(name string) *Expression {
	return find(o.Features, func(e *Expression) bool { return e.Name == name })
}

// Field finds a request field by name, nil if there is none.
func (o *OnDemand) Field(name string) *Field {
	return find(o.Request, func(f *Field) bool { return f.Name == name })
}

// OnDemandGroup finds an on-demand group by name, nil if there is none.
func (c *Catalog) OnDemandGroup(name string) *OnDemand {
	return find(c.OnDemand, func(o *OnDemand) bool { return o.Name == name })
}

// Expression finds the on-demand feature that a reference names, and its group; nil if there
// is none.
func (c *Catalog) Expression(ref Ref) (*OnDemand, *Expression) {
	group := c.OnDemandGroup(ref.View)
	if group == nil {
		return nil, nil
	}
	return group, group.Feature(ref.Column)
}

// EntitiesOf lists the entities whose features some columns are, or are computed from, each
// once, in the order in which they are met.
func (c *Catalog) EntitiesOf(columns []Ref) []string {
	var entities []string
	add := func(ref Ref) {
		if view := c.View(ref.View); view != nil && !slices.Contains(entities, view.Entity) {
			entities = append(entities, view.Entity)
		}
	}
	for _, ref := range columns {
		add(ref)
		if _, e := c.Expression(ref); e != nil {
			for _, input := range e.Inputs {
				add(input)
			}
		}
	}
	return entities
}
