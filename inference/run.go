package inference

import (
	"context"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// Rows are the rows of a request, as they were fetched: for each view of the plan in
// order one row for each candidate where the view describes the candidates, and one
// row otherwise.
type Rows interface {
	// Row is the i-th row, nil when there is none.
	Row(i int) []byte
}

// Request is what one call brings. Its fields may be used again for the next call.
type Request struct {
	Candidates int
	// Fields holds, for each request field of the model, one value for all candidates,
	// one for each, or none.
	Fields [][]float64
	Rows   Rows
	// Now is the caller's clock in microseconds.
	Now int64
	// Filling says that the rows were read while the store was being filled.
	Filling bool

	cells []featurestore.Cell // room for the cells of one row
}

// Result is what a run gives.
type Result struct {
	// Scores has one score for each candidate.
	Scores []float32
	// ReadTime is the time of the read, now, and Newest the time of the newest event of the
	// rows that were found, 0 if none was; in microseconds.
	ReadTime, Newest int64
	// Statuses counts the values read by status.
	Statuses [featurestore.Statuses]uint32
	// Assemble and Run are the times from rows to input, and of the model.
	Assemble, Run time.Duration
}

// Run scores the candidates. Every value is as of one time, now, but that of a row with a
// newer event is as of just after it. It allocates nothing for a candidate.
//
// It fails with featurestore.Invalid when a value is missing for which the model has
// no default, and with featurestore.Unavailable when it is missing while the store is
// being filled.
func (h *Hop) Run(ctx context.Context, req *Request, res *Result) error {
	start := time.Now()
	h.newest(req, res)
	batch, err := h.Model.batch()
	if err != nil {
		return err
	}
	defer h.Model.release(batch)
	var room [8]slab
	slabs := h.Model.slabs(batch, room[:0])
	res.Scores = res.Scores[:0]
	chunk := batch.MaxRows()
	for from := 0; from < req.Candidates; from += chunk {
		n := min(chunk, req.Candidates-from)
		if err := h.assemble(req, res, slabs, from, n); err != nil {
			return err
		}
		assembled := time.Now()
		res.Assemble += assembled.Sub(start)
		if res.Scores, err = h.Model.run(ctx, batch, n, res.Scores); err != nil {
			return err
		}
		start = time.Now()
		res.Run += start.Sub(assembled)
	}
	return nil
}

// RowCount is how many rows a view has in a request.
func (h *Hop) RowCount(view, candidates int) int {
	if h.Plan.Views[view].Entity == h.Candidate {
		return candidates
	}
	return 1
}

// newest finds the time of the newest event.
func (h *Hop) newest(req *Request, res *Result) {
	res.ReadTime, res.Newest = req.Now, 0
	at := 0
	for i := range h.Plan.Views {
		reader := h.Plan.Views[i].Reader
		for range h.RowCount(i, req.Candidates) {
			res.Newest = max(res.Newest, reader.Newest(req.Rows.Row(at)))
			at++
		}
	}
}

// assemble fills the input memory for n candidates from one on.
func (h *Hop) assemble(req *Request, res *Result, slabs []slab, from, n int) error {
	for field, places := range h.request {
		if err := h.placeField(req, slabs, field, places, from, n); err != nil {
			return err
		}
	}
	first := 0
	for i := range h.Plan.Views {
		view := &h.Plan.Views[i]
		if len(req.cells) < len(view.Columns) {
			req.cells = make([]featurestore.Cell, len(view.Columns))
		}
		cells := req.cells[:len(view.Columns)]
		rows := h.RowCount(i, req.Candidates)
		if view.Entity != h.Candidate {
			if err := h.assembleShared(req, res, slabs, i, first, from, n, cells); err != nil {
				return err
			}
			first++
			continue
		}
		for c := range n {
			if err := h.read(req, res, i, first+from+c, cells); err != nil {
				return err
			}
			if err := h.count(res, h.features[i], cells, from+c, false); err != nil {
				return err
			}
			for p := range h.features[i] {
				at := &h.features[i][p]
				slabs[at.input].set(c, at.column, number(&cells[at.cell], at.def))
			}
		}
		first += rows
	}
	return nil
}

// assembleShared reads the one row of a shared view and writes its values to all
// candidates. Statuses are counted once, however many parts the candidates take.
func (h *Hop) assembleShared(req *Request, res *Result, slabs []slab, view, row, from, n int, cells []featurestore.Cell) error {
	if err := h.read(req, res, view, row, cells); err != nil {
		return err
	}
	if from == 0 {
		if err := h.count(res, h.features[view], cells, 0, true); err != nil {
			return err
		}
	}
	for p := range h.features[view] {
		at := &h.features[view][p]
		slabs[at.input].fill(n, at.column, number(&cells[at.cell], at.def))
	}
	return nil
}

// read reads a row of a view.
func (h *Hop) read(req *Request, res *Result, view, row int, cells []featurestore.Cell) error {
	if err := h.Plan.Views[view].Reader.Read(req.Rows.Row(row), res.ReadTime, cells); err != nil {
		return err
	}
	if req.Filling {
		featurestore.MarkFilling(cells)
	}
	return nil
}

// number is a cell as a model reads it.
func number(cell *featurestore.Cell, def float64) float64 {
	if cell.Value.IsNull() {
		return def
	}
	if cell.Value.Type == featurestore.Float64 {
		return cell.Value.Float()
	}
	return float64(cell.Value.Int())
}

// count counts the statuses of a row's values, and fails when a value is missing for
// which the model has no default.
func (h *Hop) count(res *Result, places []placement, cells []featurestore.Cell, candidate int, shared bool) error {
	for p := range places {
		at := &places[p]
		cell := &cells[at.cell]
		if !cell.Value.IsNull() {
			res.Statuses[cell.Status]++
			continue
		}
		if !at.hasDefault {
			return missing(at.name, cell.Status, candidate, shared)
		}
		res.Statuses[cell.Status]++
		res.Statuses[featurestore.Defaulted]++
	}
	return nil
}

// missing says which value a model lacks. What is being filled may be there later.
func missing(name string, status featurestore.Status, candidate int, shared bool) error {
	code := featurestore.Invalid
	if status == featurestore.Filling {
		code = featurestore.Unavailable
	}
	if shared {
		return featurestore.Errorf(code, "feature %q of the shared entity is %s, and the model has no default for it", name, status)
	}
	return featurestore.Errorf(code, "candidate %d: feature %q is %s, and the model has no default for it", candidate, name, status)
}

func (h *Hop) placeField(req *Request, slabs []slab, field int, places []placement, from, n int) error {
	values := req.Fields[field]
	for _, at := range places {
		if len(values) == 0 && !at.hasDefault {
			return featurestore.Errorf(featurestore.Invalid, "request: field %q is missing, and the model has no default for it", h.Definition.Request[field].Name)
		}
		for c := range n {
			v := at.def
			switch len(values) {
			case 0:
			case 1:
				v = values[0]
			default:
				v = values[from+c]
			}
			slabs[at.input].set(c, at.column, v)
		}
	}
	return nil
}

// Predict scores rows whose columns are given by name: one value for each row, or one
// for all. A column that is not given takes the model's default.
func (h *Hop) Predict(ctx context.Context, rows int, columns map[string][]float64) ([]float32, error) {
	batch, err := h.Model.batch()
	if err != nil {
		return nil, err
	}
	defer h.Model.release(batch)
	var room [8]slab
	slabs := h.Model.slabs(batch, room[:0])
	var places []placement
	for _, list := range h.features {
		places = append(places, list...)
	}
	for _, list := range h.request {
		places = append(places, list...)
	}
	scores := make([]float32, 0, rows)
	for from := 0; from < rows; from += batch.MaxRows() {
		n := min(batch.MaxRows(), rows-from)
		for i := range places {
			at := &places[i]
			values, given := columns[at.name]
			if !given && !at.hasDefault {
				return nil, featurestore.Errorf(featurestore.Invalid, "columns: %q is missing, and the model has no default for it", at.name)
			}
			for c := range n {
				v := at.def
				if given {
					v = values[min(from+c, len(values)-1)]
				}
				slabs[at.input].set(c, at.column, v)
			}
		}
		if scores, err = h.Model.run(ctx, batch, n, scores); err != nil {
			return nil, err
		}
	}
	return scores, nil
}
