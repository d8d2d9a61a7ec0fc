package inference

import (
	"context"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
)

// bench is where the rows of a request are read, one after the other.
type bench struct {
	cells      []featurestore.Cell // room for one row of the plan
	values     []featurestore.Value
	computer   *plan.Computer
	remembered []*remembered // of the rows of a view
	touched    uint32        // see memo.look
	of         *plan.Plan
}

// prepare makes room for a plan.
func (b *bench) prepare(h *Hop) {
	if b.of != h.Plan {
		b.of, b.computer = h.Plan, h.Plan.Computer()
		b.cells, b.values = make([]featurestore.Cell, h.Plan.Cells), make([]featurestore.Value, len(h.Plan.Request))
	}
}

// candidates reads the rows of n candidates from one on, computes what is computed from them, and writes the input memory.
func (h *Hop) candidates(ctx context.Context, req *Request, res *Result, slabs []slab, from, n int) error {
	for i := range h.Plan.Views { // a view after the other, so that what reads it stays in the processor's caches
		if h.Plan.Views[i].Entity != h.Candidate || h.inputs[i] {
			continue
		}
		if err := h.candidateRows(req, res, slabs, i, from, n); err != nil {
			return err
		}
	}
	if len(h.computed) == 0 {
		return nil
	}
	for row := range n {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		for i := range h.Plan.Views {
			if h.Plan.Views[i].Entity != h.Candidate || !h.inputs[i] {
				continue
			}
			if err := h.candidateRow(req, res, slabs, i, from+row, row); err != nil {
				return err
			}
		}
		if err := h.compute(req, res, slabs, from+row, row); err != nil {
			return err
		}
	}
	return nil
}

// candidateRows reads the rows of one view, but those that are remembered, and writes its columns.
func (h *Hop) candidateRows(req *Request, res *Result, slabs []slab, view, from, n int) error {
	m, first, hits := h.memos[view], req.first[view]+from, 0
	if req.Filling || !m.on(n) {
		m = nil
	} else {
		req.own.remembered, req.own.touched = m.look(req.own.remembered, req.Rows, first, n)
	}
	for row := range n {
		if m == nil || req.Rows.Stale(first+row) {
			if err := h.candidateRow(req, res, slabs, view, from+row, row); err != nil {
				return err
			}
			continue
		}
		packed := req.Rows.Row(first + row)
		if r := req.own.remembered[row]; r.is(packed, res.ReadTime) && (r.others == nil || !res.strict) {
			m.put(r, slabs, row, res)
			hits++
			continue
		}
		before := res.Statuses
		if err := h.candidateRow(req, res, slabs, view, from+row, row); err != nil {
			return err
		}
		counted := res.Statuses
		for status := range counted {
			counted[status] -= before[status]
		}
		m.keep(packed, res.ReadTime, slabs, row, &counted)
	}
	if m != nil {
		m.note(n, hits)
	}
	return nil
}

// candidateRow reads a candidate's row of one view and writes its columns.
func (h *Hop) candidateRow(req *Request, res *Result, slabs []slab, view, candidate, row int) error {
	if err := h.read(req, view, candidate, res.ReadTime, req.own.cells); err != nil {
		return err
	}
	res.Newest = max(res.Newest, h.Plan.Views[view].Reader.Newest(req.Rows.Row(req.first[view]+candidate)))
	return req.own.put(res, slabs, h.features[view], candidate, row)
}

// compute computes on-demand features from what was read for a candidate.
func (h *Hop) compute(req *Request, res *Result, slabs []slab, candidate, row int) error {
	b := &req.own
	for i, values := range req.Values {
		b.values[i] = values[min(candidate, len(values)-1)]
	}
	b.computer.Compute(b.cells, b.values)
	return b.put(res, slabs, h.computed, candidate, row)
}

// put writes what was read for a candidate to its row of the input memory, and counts its statuses.
func (b *bench) put(res *Result, slabs []slab, places []placement, candidate, row int) error {
	present := uint32(0) // most are, and a counter in memory would be waited for
	for p := 0; p < len(places); p++ {
		at := &places[p]
		cell, s := &b.cells[at.cell], &slabs[at.input]
		if cell.Status != featurestore.Present {
			if err := res.count(at, cell, candidate, false); err != nil {
				return err
			}
			s.put(row, at, &cell.Value)
			continue
		}
		i := row*s.width + int(at.column)
		switch {
		case !at.isNumber():
			s.put(row, at, &cell.Value)
		case s.floats != nil && cell.Value.Type != featurestore.Float64:
			s.floats[i] = float32(cell.Value.Int())
		case s.floats != nil && finite(float32(cell.Value.Float())):
			s.floats[i] = float32(cell.Value.Float())
		case s.holds(number(&cell.Value, 0)):
			s.set(row, int(at.column), number(&cell.Value, 0))
		default:
			cell.Value, cell.Status = null, featurestore.Overflow
			p-- // once more, as a value that is missing
			continue
		}
		present++
	}
	res.Statuses[featurestore.Present] += present
	return nil
}

// finite says that a number is none of those that stand for what does not fit.
func finite(f float32) bool { return f-f == 0 }

// count counts the status of a value, and fails when it is missing and the model has no default for it.
func (r *Result) count(at *placement, cell *featurestore.Cell, candidate int, shared bool) error {
	if !cell.Value.IsNull() {
		r.Statuses[cell.Status]++
		return nil
	}
	if !at.hasDefault || r.strict {
		return missing(at, cell.Status, candidate, shared)
	}
	r.Statuses[cell.Status]++
	r.Statuses[featurestore.Defaulted]++
	return nil
}

// missing says which value a model lacks. What is being filled may be there later.
func missing(at *placement, status featurestore.Status, candidate int, shared bool) error {
	code, why := featurestore.Invalid, "the model has no default for it"
	if at.hasDefault {
		why = "the request wants no default for it"
	}
	if status == featurestore.Filling {
		code = featurestore.Unavailable
	}
	if shared {
		return featurestore.Errorf(code, "feature %q of the shared entity is %s, and %s", at.name, status, why)
	}
	return featurestore.Errorf(code, "candidate %d: feature %q is %s, and %s", candidate+1, at.name, status, why)
}
