package inference

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/tensor"
)

// Hop is a model compiled against definitions: the features to read, and where every
// value goes. It is immutable and safe for concurrent use.
type Hop struct {
	Model *Model
	// Plan says which rows to read, for which entities.
	Plan *plan.Plan
	// Definition is what the definitions say of the model.
	Definition *featurestore.Model
	// Candidate indexes Plan.Entities: the entity of which a request brings many keys.
	// It is −1 when no feature of it is used; a request brings its keys all the same.
	Candidate int
	// Shared are the entities of which a request may bring one key each, whichever version of the model answers: those of
	// the feature service but the candidates'.
	Shared []*featurestore.Entity
	// Columns are the names of all columns, inputs one after the other.
	Columns []string

	features [][]placement // for each view of the plan
	inputs   []bool        // for each view of the plan, whether on-demand features are computed from it
	memos    []*memo       // for each view of the plan, nil for none
	ranges   []slab        // of the model's inputs, without memory: what their types hold
	computed []placement   // of on-demand features
	request  [][]placement // for each request field of the definition
}

// placement says where one value goes. What every value of a request needs stands first, on one cache line.
type placement struct {
	cell       int32 // of the plan's row; unused for request fields
	input      int32 // tensor
	column     int32 // first element within the tensor's row
	length     int32 // of a list; 0 for one value
	isText     bool
	hasDefault bool
	def        float64
	text       string // the default of a text
	name       string
}

// newPlacement is the place of a column in a tensor, from an element of its row on.
func newPlacement(c repository.Column, input, element int, isText bool) placement {
	p := placement{input: int32(input), column: int32(element), length: int32(c.Length), isText: isText, name: c.From}
	if c.Default != nil {
		p.hasDefault, p.def = true, *c.Default
	}
	if c.Text != nil {
		p.hasDefault, p.text = true, *c.Text
	}
	return p
}

// isNumber says that it takes one number.
func (p *placement) isNumber() bool { return p.length == 0 && !p.isText }

// Compile compiles a model. Every feature that it reads must be of the feature service
// that the definitions give the model, and every request field must be declared.
func Compile(m *Model, catalog *featurestore.Catalog, programs map[string]*fold.Program) (*Hop, error) {
	definition := catalog.Model(m.Name)
	if definition == nil {
		return nil, fmt.Errorf("the definitions have no model %q", m.Name)
	}
	h := &Hop{Model: m, Definition: definition, Candidate: -1, request: make([][]placement, len(definition.Request))}
	service := catalog.Service(definition.Service)
	var refs []featurestore.Ref
	places := map[featurestore.Ref][]placement{}
	var problems []error
	for _, input := range m.Spec.Inputs {
		t := slices.IndexFunc(m.inputs, func(i tensor.Info) bool { return i.Name == input.Tensor })
		width := 0
		for _, column := range input.Columns {
			h.Columns = append(h.Columns, column.From)
			at := newPlacement(column, t, width, m.inputs[t].Type == tensor.String)
			width += column.Width()
			if field, ok := column.RequestField(); ok {
				i := slices.IndexFunc(definition.Request, func(f featurestore.Field) bool { return f.Name == field })
				if i < 0 {
					problems = append(problems, fmt.Errorf("the definitions give model %q no request field %q", definition.Name, field))
					continue
				}
				if err := at.fits("request field", field, definition.Request[i].Type); err != nil {
					problems = append(problems, err)
					continue
				}
				h.request[i] = append(h.request[i], at)
				continue
			}
			ref, err := featurestore.ParseRef(column.From)
			if err == nil && !slices.Contains(service.Columns, ref) {
				err = fmt.Errorf("feature %q is not in feature service %q, which the definitions give model %q", column.From, service.Name, definition.Name)
			}
			if err != nil {
				problems = append(problems, err)
				continue
			}
			if places[ref] == nil {
				refs = append(refs, ref)
			}
			places[ref] = append(places[ref], at)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	all, err := plan.Compile(catalog, programs, service.Columns)
	if err != nil {
		return nil, err
	}
	for _, entity := range all.Entities {
		if entity.Name != definition.Candidates {
			h.Shared = append(h.Shared, entity)
		}
	}
	return h, h.place(catalog, programs, refs, places)
}

// place compiles the plan and turns the places of features into places of cells.
func (h *Hop) place(catalog *featurestore.Catalog, programs map[string]*fold.Program, refs []featurestore.Ref, places map[featurestore.Ref][]placement) error {
	p, err := plan.Compile(catalog, programs, refs)
	if err != nil {
		return err
	}
	h.Plan, h.features = p, make([][]placement, len(p.Views))
	for _, c := range p.Columns {
		for _, at := range places[c.Ref] {
			if err := at.fits("feature", c.Ref.String(), c.Type); err != nil {
				return err
			}
			at.cell = int32(c.Cell)
			if c.View < 0 {
				h.computed = append(h.computed, at)
				continue
			}
			h.features[c.View] = append(h.features[c.View], at)
		}
	}
	h.Candidate = slices.IndexFunc(p.Entities, func(e *featurestore.Entity) bool { return e.Name == h.Definition.Candidates })
	h.ranges = ranges(h.Model.inputs)
	h.remember()
	return nil
}

// remember makes the memos of the candidates' views, but for those that features are computed from: they need the values, and not what
// became of them.
func (h *Hop) remember() {
	h.memos, h.inputs = make([]*memo, len(h.Plan.Views)), make([]bool, len(h.Plan.Views))
	for i := range h.Plan.OnDemand {
		for _, in := range h.Plan.OnDemand[i].Inputs {
			if in.View >= 0 {
				h.inputs[in.View] = true
			}
		}
	}
	for i := range h.Plan.Views {
		if v := &h.Plan.Views[i]; v.Entity == h.Candidate && !h.inputs[i] {
			slices.SortFunc(h.features[i], func(a, b placement) int {
				return cmp.Or(cmp.Compare(a.input, b.input), cmp.Compare(a.column, b.column))
			})
			h.memos[i] = newMemo(v.Reader, h.features[i], h.Model.inputs)
		}
	}
}

// fits says whether values of a type can go to a place.
func (p *placement) fits(what, name string, t featurestore.Type) error {
	switch {
	case t.IsList() && p.length == 0:
		return fmt.Errorf("%s %q is %s: give its column a length", what, name, t)
	case !t.IsList() && p.length > 0:
		return fmt.Errorf("%s %q is %s and no list: its column has no length", what, name, t)
	case p.isText && t.Elem() != featurestore.String:
		return fmt.Errorf("%s %q is %s; the column's tensor is of strings", what, name, t)
	case !p.isText && !t.Elem().IsNumber() && t.Elem() != featurestore.Bool:
		return fmt.Errorf("%s %q is %s; the column's tensor is of numbers", what, name, t)
	default:
		return nil
	}
}
