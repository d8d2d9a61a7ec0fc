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
type Plan struct {
	Catalog *featurestore.Catalog
	// Entities are the entities whose keys a request must bring.
	Entities []*featurestore.Entity
	// Views are the views to read, each once.
	Views []View
	// Columns are the columns of the vector, in order.
	Columns []Column
}

// View is a view to read.
type View struct {
	*featurestore.View
	// Entity indexes Plan.Entities.
	Entity int
	// Reader writes the view's cells.
	Reader *fold.Reader
	// Columns says, for each cell of the reader, which column it is.
	Columns []int
}

// Column is a column of the vector.
type Column struct {
	Ref  featurestore.Ref
	Type featurestore.Type
	// View indexes Plan.Views, Cell the cells of its reader.
	View, Cell int
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
	names := make([][]string, 0, len(catalog.Views))
	for _, ref := range refs {
		view := catalog.View(ref.View)
		if view == nil {
			return nil, featurestore.Errorf(featurestore.Unknown, "there is no feature view %q", ref.View)
		}
		column, ok := view.Column(ref.Column)
		if !ok {
			return nil, featurestore.Errorf(featurestore.Unknown, "view %q has no feature %q", ref.View, ref.Column)
		}
		v := p.view(view)
		if v == len(names) {
			names = append(names, nil)
		}
		if slices.Contains(names[v], ref.Column) {
			return nil, featurestore.Errorf(featurestore.Invalid, "feature %q is asked for twice", ref)
		}
		p.Views[v].Columns = append(p.Views[v].Columns, len(p.Columns))
		p.Columns = append(p.Columns, Column{Ref: ref, Type: column.Type, View: v, Cell: len(names[v])})
		names[v] = append(names[v], ref.Column)
	}
	for i := range p.Views {
		reader, err := programs[p.Views[i].Name].Reader(names[i])
		if err != nil {
			return nil, err
		}
		p.Views[i].Reader = reader
	}
	return p, nil
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
// a view.
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
