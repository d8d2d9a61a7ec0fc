package plan

import (
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/expr"
)

// RequestField is a field that a request, or a spine, must bring.
type RequestField struct {
	featurestore.Field
	// For is the first feature that is computed from it.
	For featurestore.Ref
}

// OnDemand is a feature to compute.
type OnDemand struct {
	Ref        featurestore.Ref
	Expression *expr.Expression
	// Inputs are those of the expression, in its order.
	Inputs []Input
	// Cell is its place in a row.
	Cell int
}

// Input is what an expression reads.
type Input struct {
	// View indexes Plan.Views, of which Cell is a cell of a row; it is −1 for a request
	// field, and Cell then indexes Plan.Request.
	View, Cell int
}

// compute adds a feature that is computed, and what it is computed from.
func (p *Plan) compute(ref featurestore.Ref) error {
	group, feature := p.Catalog.Expression(ref)
	if feature == nil {
		return featurestore.Errorf(featurestore.Unknown, "on-demand group %q has no feature %q", ref.View, ref.Column)
	}
	compiled, err := expr.NewExpression(feature.Expression, scopeOf(p.Catalog, group))
	if err != nil {
		return featurestore.Errorf(featurestore.Invalid, "feature %q: %v", ref, err)
	}
	o := OnDemand{Ref: ref, Expression: compiled}
	for _, input := range compiled.Inputs() {
		if input.View == featurestore.RequestView {
			o.Inputs = append(o.Inputs, Input{View: -1, Cell: p.field(group.Field(input.Column), ref)})
			continue
		}
		view, cell, err := p.read(input)
		if err != nil {
			return err
		}
		o.Inputs = append(o.Inputs, Input{View: view, Cell: cell}) // place adds where the view's cells begin
	}
	p.OnDemand = append(p.OnDemand, o)
	return nil
}

// field is the index of a request field in the plan, added on first use.
func (p *Plan) field(field *featurestore.Field, ref featurestore.Ref) int {
	if i := slices.IndexFunc(p.Request, func(f RequestField) bool { return f.Name == field.Name }); i >= 0 {
		return i
	}
	p.Request = append(p.Request, RequestField{Field: *field, For: ref})
	return len(p.Request) - 1
}

// scopeOf is what an expression of a group may refer to. The catalog is checked, so its
// error is none that anybody is meant to see.
func scopeOf(catalog *featurestore.Catalog, group *featurestore.OnDemand) expr.Scope {
	return func(ref featurestore.Ref) (featurestore.Type, error) {
		if ref.View == featurestore.RequestView {
			if field := group.Field(ref.Column); field != nil {
				return field.Type, nil
			}
		} else if view := catalog.View(ref.View); view != nil {
			if column, ok := view.Column(ref.Column); ok {
				return column.Type, nil
			}
		}
		return 0, featurestore.Errorf(featurestore.Unknown, "the definitions have no %q", ref)
	}
}

// Computer computes the on-demand features of one row after the other. It is not safe for
// concurrent use.
type Computer struct {
	plan   *Plan
	each   []*expr.Computation
	inputs []featurestore.Value
}

// Computer makes a computer.
func (p *Plan) Computer() *Computer {
	c := &Computer{plan: p}
	for i := range p.OnDemand {
		c.each = append(c.each, p.OnDemand[i].Expression.Compute())
	}
	return c
}

// Compute computes a row's cells from the cells that were read, and from the values of the
// plan's request fields, of which any may be null.
//
// An input that has no value is null, whatever the reason, but for two: a value that is
// there and cannot be told (OVERFLOW), and one that is not known yet (FILLING), are not
// what an expression means by null. What would be computed from one has its status. What is
// computed from a STALE value is STALE, or FILLING if it is null. The event time is the
// newest of the inputs'.
func (c *Computer) Compute(cells []featurestore.Cell, request []featurestore.Value) {
	for i := range c.plan.OnDemand {
		o := &c.plan.OnDemand[i]
		cells[o.Cell] = c.one(o, c.each[i], cells, request)
	}
}

func (c *Computer) one(o *OnDemand, e *expr.Computation, cells []featurestore.Cell, request []featurestore.Value) featurestore.Cell {
	out := featurestore.Cell{Status: featurestore.Present}
	c.inputs = c.inputs[:0]
	for _, in := range o.Inputs {
		if in.View < 0 {
			c.inputs = append(c.inputs, request[in.Cell])
			continue
		}
		cell := &cells[in.Cell]
		c.inputs = append(c.inputs, cell.Value)
		out.EventTime = max(out.EventTime, cell.EventTime)
		switch cell.Status {
		case featurestore.Overflow, featurestore.Filling:
			out.Status = max(out.Status, cell.Status)
		case featurestore.Stale:
			out.Status = max(out.Status, featurestore.Stale)
		default:
		}
	}
	if out.Status > featurestore.Stale {
		return out
	}
	out.Value = e.Value(c.inputs)
	switch {
	case !out.Value.IsNull():
	case out.Status == featurestore.Stale:
		out.Status = featurestore.Filling
	default:
		out.Status = featurestore.Null
	}
	return out
}

// EntityOf is the entity, an index of Plan.Entities, that a column describes; false for what
// is computed from features of several, or from request fields.
func (p *Plan) EntityOf(c *Column) (entity int, one bool) {
	if c.View >= 0 {
		return p.Views[c.View].Entity, true
	}
	inputs := p.OnDemand[c.Cell-(p.Cells-len(p.OnDemand))].Inputs
	for i, in := range inputs {
		if in.View < 0 || i > 0 && p.Views[in.View].Entity != entity {
			return 0, false
		}
		entity = p.Views[in.View].Entity
	}
	return entity, len(inputs) > 0
}
