package maintain

import (
	"fmt"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/served"
)

// computation computes the on-demand features of vectors of one service or model.
type computation struct {
	plan     *plan.Plan
	computer *plan.Computer
	cells    []featurestore.Cell
	request  []featurestore.Value
}

// computation is that of a vector; nil where nothing is computed, or its definitions are gone.
func (c *servedComparison) computation(r *served.Record) (*computation, error) {
	of := fmt.Sprintf("%s/%s/%d/%d", r.Kind, r.Name, r.Version, r.Definitions)
	if known, ok := c.computations[of]; ok {
		return known, nil
	}
	var made *computation
	at := slices.IndexFunc(c.Catalogs, func(catalog *featurestore.Catalog) bool { return int64(catalog.Version) == r.Definitions })
	if at >= 0 {
		var err error
		if made, err = newComputation(c.Catalogs[at], r); err != nil {
			return nil, err
		}
	}
	c.computations[of] = made
	return made, nil
}

func newComputation(catalog *featurestore.Catalog, r *served.Record) (*computation, error) {
	var refs []featurestore.Ref
	for i := range r.Features {
		ref, err := featurestore.ParseRef(r.Features[i].Name)
		if err != nil {
			return nil, err
		}
		if catalog.OnDemandGroup(ref.View) != nil {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 0 {
		return nil, nil //nolint:nilnil // Nothing is computed, which is no error.
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		return nil, err
	}
	p, err := plan.Compile(catalog, programs, refs)
	if err != nil {
		return nil, err
	}
	return &computation{
		plan: p, computer: p.Computer(), cells: make([]featurestore.Cell, p.Cells), request: make([]featurestore.Value, len(p.Request)),
	}, nil
}

// onDemand compares the on-demand features of a vector with those that are computed from its
// rows as history gives them.
func (c *servedComparison) onDemand(r *served.Record) error {
	of, err := c.computation(r)
	if of == nil || err != nil {
		return err
	}
	for i := range of.plan.Views {
		view := &of.plan.Views[i]
		row, known := c.recomputed[r][view.Name]
		if !known { // which was counted for the view's own features
			c.skew.Unchecked[uncheckedInputs] += len(of.plan.Columns)
			return nil
		}
		if err := view.Reader.Read(row, r.ReadTime, of.cells[view.First:view.First+len(view.Columns)]); err != nil {
			return err
		}
	}
	for i := range of.plan.Request {
		field := &of.plan.Request[i]
		at := slices.IndexFunc(r.Request, func(f served.Field) bool { return f.Name == field.Name })
		of.request[i] = featurestore.Value{}
		if at < 0 {
			continue
		}
		if of.request[i], err = served.Value(r.Request[at].JSON, field.Type); err != nil {
			return fmt.Errorf("request field %q of request %s: %w", field.Name, r.RequestID, err)
		}
	}
	of.computer.Compute(of.cells, of.request)
	for i := range of.plan.Columns {
		column := &of.plan.Columns[i]
		at := slices.IndexFunc(r.Features, func(f served.Feature) bool { return f.Name == column.Ref.String() })
		want := &of.cells[column.Cell]
		have, equal, err := c.point(r, &r.Features[at], column.Type, want)
		if err != nil {
			return err
		}
		if !equal {
			var key []byte
			if len(r.Entities) > 0 {
				key = r.Entities[0].Key
			}
			c.differ(r, &r.Features[at], key, &have, want, Unknown)
		}
	}
	return nil
}
