package inference

import (
	"context"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/batching"
)

// Rows are the rows of a request, as they were fetched: for each view of the plan in
// order one row for each candidate where the view describes the candidates, and one
// row otherwise.
type Rows interface {
	// Row is the i-th row, nil when there is none.
	Row(i int) []byte
	// Stale says that the i-th row is an old copy, or not known at all, because the store did not answer.
	Stale(i int) bool
}

// Request is what one call brings. Its fields may be used again for the next call.
type Request struct {
	Candidates int
	// Fields holds, for each request field of the model, one value for all candidates,
	// one for each, or none: numbers, or where the field is a text Texts.
	Fields [][]float64
	Texts  [][]string
	// Values holds, for each request field of the plan, one value for all candidates or one
	// for each.
	Values [][]featurestore.Value
	Rows   Rows
	// Now is the caller's clock in microseconds.
	Now int64
	// Priority goes before deadlines where requests wait for the model: the highest first.
	Priority int
	// Admission is what the model admitted; a run takes it.
	Admission batching.Admission
	// FailOnMissing says that the model's defaults are not wanted.
	FailOnMissing bool
	// NoCache says that no score is taken from a cache.
	NoCache bool
	// Filling says that the rows were read while the store was being filled.
	Filling bool

	first []int // of each view of the plan, in Rows
	own   bench
}

// prepare makes room for a plan.
func (req *Request) prepare(h *Hop) error {
	if len(req.Values) != len(h.Plan.Request) {
		return featurestore.Errorf(featurestore.Invalid, "request: %d fields are given from which features are computed; there are %d", len(req.Values), len(h.Plan.Request))
	}
	req.own.prepare(h)
	req.first = req.first[:0]
	rows := 0
	for i := range h.Plan.Views {
		req.first = append(req.first, rows)
		rows += h.RowCount(i, req.Candidates)
	}
	return nil
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
	// Assemble and Run are the times from rows to input, and of the model, of which Wait was spent waiting for it.
	Assemble, Run, Wait time.Duration

	strict bool // defaults do not count
}

// Run scores the candidates. Every value is as of one time, now, but that of a row with a
// newer event is as of just after it. It allocates nothing for a candidate, but for what
// on-demand features of texts and lists take.
//
// It fails with featurestore.Invalid when a value is missing for which the model has
// no default, and with featurestore.Unavailable when it is missing while the store is
// being filled.
func (h *Hop) Run(ctx context.Context, req *Request, res *Result) error {
	start := time.Now()
	if err := req.prepare(h); err != nil {
		return err
	}
	res.ReadTime, res.Newest, res.strict = req.Now, 0, req.FailOnMissing
	batch, err := h.Model.queue.Take()
	if err != nil {
		return err
	}
	defer h.Model.queue.Release(batch)
	var room [8]slab
	slabs := h.Model.slabs(batch, room[:0])
	res.Scores = res.Scores[:0]
	chunk := h.Model.queue.MaxRows()
	for from := 0; from < req.Candidates; from += chunk {
		n := min(chunk, req.Candidates-from)
		if err := h.assemble(ctx, req, res, slabs, from, n); err != nil {
			return err
		}
		assembled := time.Now()
		res.Assemble += assembled.Sub(start)
		var waited time.Duration
		if res.Scores, waited, err = h.Model.run(ctx, batch, batching.Request{
			Rows: n, Priority: req.Priority, Admission: &req.Admission, Scores: res.Scores,
		}, req.NoCache); err != nil {
			return err
		}
		start = time.Now()
		res.Run += start.Sub(assembled)
		res.Wait += waited
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

// assemble fills the input memory for n candidates from one on.
func (h *Hop) assemble(ctx context.Context, req *Request, res *Result, slabs []slab, from, n int) error {
	for field, places := range h.request {
		if err := h.placeField(req, slabs, field, places, from, n); err != nil {
			return err
		}
	}
	for i := range h.Plan.Views {
		if h.Plan.Views[i].Entity == h.Candidate {
			continue
		}
		if err := h.assembleShared(req, res, slabs, i, from, n); err != nil {
			return err
		}
	}
	return h.candidates(ctx, req, res, slabs, from, n)
}

// assembleShared reads the one row of a shared view and writes its values to all
// candidates. Statuses are counted once, however many parts the candidates take.
func (h *Hop) assembleShared(req *Request, res *Result, slabs []slab, view, from, n int) error {
	if err := h.read(req, view, 0, res.ReadTime, req.own.cells); err != nil {
		return err
	}
	res.Newest = max(res.Newest, h.Plan.Views[view].Reader.Newest(req.Rows.Row(req.first[view])))
	h.overflow(h.features[view], req.own.cells)
	for p := range h.features[view] {
		at := &h.features[view][p]
		cell := &req.own.cells[at.cell]
		if from == 0 {
			if err := res.count(at, cell, 0, true); err != nil {
				return err
			}
		}
		slabs[at.input].fill(n, at, &cell.Value)
	}
	return nil
}

// Read reads a candidate's row of the plan, but for what is computed on demand, from a
// request that was run, as of the time of its result. As for the model, a number that its tensor does not hold is OVERFLOW.
func (h *Hop) Read(req *Request, candidate int, t int64, cells []featurestore.Cell) error {
	for i := range h.Plan.Views {
		if err := h.read(req, i, min(candidate, h.RowCount(i, req.Candidates)-1), t, cells); err != nil {
			return err
		}
		h.overflow(h.features[i], cells)
	}
	return nil
}

// Computed is what [Hop.Read] leaves to whoever computes on-demand features: numbers of theirs that their tensors do not hold.
func (h *Hop) Computed(cells []featurestore.Cell) { h.overflow(h.computed, cells) }

func (h *Hop) overflow(places []placement, cells []featurestore.Cell) {
	for p := range places {
		at := &places[p]
		cell := &cells[at.cell]
		if cell.Status == featurestore.Present && at.isNumber() && !h.ranges[at.input].holds(number(&cell.Value, 0)) {
			cell.Value, cell.Status = null, featurestore.Overflow
		}
	}
}

// read reads a view's row into its cells of the plan's row.
func (h *Hop) read(req *Request, view, row int, t int64, cells []featurestore.Cell) error {
	v := &h.Plan.Views[view]
	own := cells[v.First : v.First+len(v.Columns)]
	at := req.first[view] + row
	if err := v.Reader.Read(req.Rows.Row(at), t, own); err != nil {
		return err
	}
	if req.Filling || req.Rows.Stale(at) {
		featurestore.MarkFilling(own)
	}
	return nil
}
