// Package plan says what to read and which column goes where: it compiles a list of
// features into the views to read, a reader for each, and the place of every column
// in the vector. Serve, infer and training sets use the same plans. It does no I/O.
package plan

import (
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// Plan is a compiled list of features. It is immutable and safe for concurrent use.
//
// What a plan reads is a row of cells: those of each view's reader, view after view, and
// after them those that are computed on demand. A row may hold cells that nobody asked for,
// because others are computed from them.
type Plan struct {
	Catalog *featurestore.Catalog
	// Entities are the entities whose keys a request must bring.
	Entities []*featurestore.Entity
	// Request are the fields that a request, or a spine, must bring.
	Request []RequestField
	// Views are the views to read, each once.
	Views []View
	// OnDemand are the features to compute, each once.
	OnDemand []OnDemand
	// Columns are the columns of the vector, in order.
	Columns []Column
	// Cells is the length of a row.
	Cells int
}

// View is a view to read.
type View struct {
	*featurestore.View
	// Entity indexes Plan.Entities.
	Entity int
	// Reader writes the view's cells.
	Reader *fold.Reader
	// Columns are the view's columns that are read, one for each cell of the reader.
	Columns []featurestore.Column
	// First is the first of their cells in a row.
	First int
}

// Column is a column of the vector.
type Column struct {
	Ref  featurestore.Ref
	Type featurestore.Type
	// View indexes Plan.Views; it is −1 for what is computed on demand.
	View int
	// Cell is its place in a row.
	Cell int
}

// Programs compiles the folds of a catalog's views, by view name.
func Programs(catalog *featurestore.Catalog) (map[string]*fold.Program, error) {
	programs := make(map[string]*fold.Program, len(catalog.Views))
	for i := range catalog.Views {
		v := &catalog.Views[i]
		program, err := fold.Compile(v, catalog.Source(v.Source))
		if err != nil {
			return nil, err
		}
		programs[v.Name] = program
	}
	return programs, nil
}

// Compile makes the plan of a list of features. A feature may stand in it once.
func Compile(catalog *featurestore.Catalog, programs map[string]*fold.Program, refs []featurestore.Ref) (*Plan, error) {
	p := &Plan{Catalog: catalog}
	for _, ref := range refs {
		if slices.ContainsFunc(p.Columns, func(c Column) bool { return c.Ref == ref }) {
			return nil, featurestore.Errorf(featurestore.Invalid, "feature %q is asked for twice", ref)
		}
		var err error
		if catalog.OnDemandGroup(ref.View) != nil {
			err = p.compute(ref)
		} else {
			_, _, err = p.read(ref)
		}
		if err != nil {
			return nil, err
		}
		p.Columns = append(p.Columns, Column{Ref: ref})
	}
	for i := range p.Views {
		v := &p.Views[i]
		names := make([]string, len(v.Columns))
		for c := range v.Columns {
			names[c] = v.Columns[c].Name
		}
		var err error
		if v.Reader, err = programs[v.Name].Reader(names); err != nil {
			return nil, err
		}
		v.First = p.Cells
		p.Cells += len(names)
	}
	p.Cells += len(p.OnDemand)
	p.place()
	return p, nil
}

// place finds the cells of columns and of what is computed, now that all are known.
func (p *Plan) place() {
	first := p.Cells - len(p.OnDemand)
	for i := range p.Columns {
		c := &p.Columns[i]
		if at := slices.IndexFunc(p.OnDemand, func(o OnDemand) bool { return o.Ref == c.Ref }); at >= 0 {
			c.Type, c.View, c.Cell = p.OnDemand[at].Expression.Type(), -1, first+at
			continue
		}
		c.View = slices.IndexFunc(p.Views, func(v View) bool { return v.Name == c.Ref.View })
		v := &p.Views[c.View]
		cell := v.cell(c.Ref.Column)
		c.Type, c.Cell = v.Columns[cell].Type, v.First+cell
	}
	for i := range p.OnDemand {
		o := &p.OnDemand[i]
		o.Cell = first + i
		for j := range o.Inputs {
			if in := &o.Inputs[j]; in.View >= 0 {
				in.Cell += p.Views[in.View].First
			}
		}
	}
}

// cell is the reader's cell of a column, −1 when it is not read.
func (v *View) cell(column string) int {
	return slices.IndexFunc(v.Columns, func(c featurestore.Column) bool { return c.Name == column })
}

// read reads a column of a view, if it is not read yet: where, as the view and its cell.
func (p *Plan) read(ref featurestore.Ref) (view, cell int, err error) {
	of := p.Catalog.View(ref.View)
	if of == nil {
		return 0, 0, featurestore.Errorf(featurestore.Unknown, "there is no feature view %q", ref.View)
	}
	column, ok := of.Column(ref.Column)
	if !ok {
		return 0, 0, featurestore.Errorf(featurestore.Unknown, "view %q has no feature %q", ref.View, ref.Column)
	}
	view = p.view(of)
	v := &p.Views[view]
	if cell = v.cell(ref.Column); cell < 0 {
		cell = len(v.Columns)
		v.Columns = append(v.Columns, column)
	}
	return view, cell, nil
}

// view is the index of a view in the plan, added on first use.
func (p *Plan) view(view *featurestore.View) int {
	if i := slices.IndexFunc(p.Views, func(v View) bool { return v.View == view }); i >= 0 {
		return i
	}
	entity := slices.IndexFunc(p.Entities, func(e *featurestore.Entity) bool { return e.Name == view.Entity })
	if entity < 0 {
		entity = len(p.Entities)
		p.Entities = append(p.Entities, p.Catalog.Entity(view.Entity))
	}
	p.Views = append(p.Views, View{View: view, Entity: entity})
	return len(p.Views) - 1
}

// Expand reads a list of feature names, in which "view.*" stands for every feature of
// a view or of an on-demand group.
func Expand(catalog *featurestore.Catalog, names []string) ([]featurestore.Ref, error) {
	var refs []featurestore.Ref
	for _, name := range names {
		view, all := strings.CutSuffix(name, ".*")
		if !all {
			ref, err := featurestore.ParseRef(name)
			if err != nil {
				return nil, featurestore.Errorf(featurestore.Invalid, "features: %v", err)
			}
			refs = append(refs, ref)
			continue
		}
		if group := catalog.OnDemandGroup(view); group != nil {
			for i := range group.Features {
				refs = append(refs, featurestore.Ref{View: view, Column: group.Features[i].Name})
			}
			continue
		}
		v := catalog.View(view)
		if v == nil {
			return nil, featurestore.Errorf(featurestore.Unknown, "there is no feature view %q", view)
		}
		for _, column := range v.Columns() {
			refs = append(refs, featurestore.Ref{View: view, Column: column.Name})
		}
	}
	return refs, nil
}
