package inference

import (
	"context"
	"strings"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/batching"
)

// placeField writes a request field for n candidates from one on.
func (h *Hop) placeField(req *Request, slabs []slab, field int, places []placement, from, n int) error {
	for p := range places {
		at := &places[p]
		values := Given{Numbers: req.Fields[field]}
		if at.isText {
			values = Given{Texts: req.Texts[field]}
		}
		if values.len() == 0 && (!at.hasDefault || req.FailOnMissing) {
			why := "the model has no default for it"
			if at.hasDefault {
				why = "the request wants no default for it"
			}
			return featurestore.Errorf(featurestore.Invalid, "request: field %q is missing, and %s", h.Definition.Request[field].Name, why)
		}
		if err := values.place(&slabs[at.input], at, from, n); err != nil {
			return featurestore.Errorf(featurestore.Invalid, "request: field %q: %v", h.Definition.Request[field].Name, err)
		}
	}
	return nil
}

// Given are the values of one column as a request brings them: numbers, or texts for a tensor of strings.
type Given struct {
	Numbers []float64
	Texts   []string
	// Lengths are how many of them each row has, where the column is of lists.
	Lengths []uint32
}

func (g *Given) len() int { return max(len(g.Numbers), len(g.Texts)) }

// Rows is for how many rows values are given; one is for all.
func (g *Given) Rows() int {
	if g.Lengths != nil {
		return len(g.Lengths)
	}
	return g.len()
}

// place writes the values of n rows from one on to the first rows of memory.
func (g *Given) place(s *slab, at *placement, from, n int) error {
	if at.length > 0 {
		return g.placeLists(s, at, from, n)
	}
	given := len(g.Numbers)
	if at.isText {
		given = len(g.Texts)
	}
	for row := range n {
		i := min(from+row, given-1)
		switch {
		case !at.isText && i < 0:
			s.set(row, int(at.column), at.def)
		case !at.isText:
			if err := s.check(i, g.Numbers[i]); err != nil {
				return err
			}
			s.set(row, int(at.column), g.Numbers[i])
		case i < 0:
			s.texts[row*s.width+int(at.column)] = at.text
		default:
			if err := checkText(g.Texts[i]); err != nil {
				return err
			}
			s.texts[row*s.width+int(at.column)] = g.Texts[i]
		}
	}
	return nil
}

// placeLists is place for a column of lists.
func (g *Given) placeLists(s *slab, at *placement, from, n int) error {
	starts := make([]int, 1, len(g.Lengths)+1)
	for _, length := range g.Lengths {
		starts = append(starts, starts[len(starts)-1]+int(length))
	}
	for row := range n {
		first, length := 0, 0
		if i := min(from+row, len(g.Lengths)-1); i >= 0 {
			first, length = starts[i], int(g.Lengths[i])
		}
		for j := range int(at.length) {
			column := int(at.column) + j
			switch {
			case !at.isText && j >= length:
				s.set(row, column, at.def)
			case !at.isText:
				if err := s.check(first+j, g.Numbers[first+j]); err != nil {
					return err
				}
				s.set(row, column, g.Numbers[first+j])
			case j >= length:
				s.texts[row*s.width+column] = at.text
			default:
				if err := checkText(g.Texts[first+j]); err != nil {
					return err
				}
				s.texts[row*s.width+column] = g.Texts[first+j]
			}
		}
	}
	return nil
}

// check refuses the i-th value if the tensor has no room for it.
func (s *slab) check(i int, v float64) error {
	if !s.holds(v) {
		return featurestore.Errorf(featurestore.Invalid, "value %d: the model's tensor cannot hold %v", i+1, v)
	}
	return nil
}

// checkText refuses what tensors of strings cannot hold.
func checkText(text string) error {
	if strings.ContainsRune(text, 0) {
		return featurestore.Errorf(featurestore.Invalid, "texts for a model hold no NUL")
	}
	return nil
}

// places are the places of all columns.
func (h *Hop) places() []placement {
	places := append([]placement(nil), h.computed...)
	for _, list := range h.features {
		places = append(places, list...)
	}
	for _, list := range h.request {
		places = append(places, list...)
	}
	return places
}

// Kind says whether a column is of texts, and how many elements of a list it has, 0 when it is of single values.
func (h *Hop) Kind(column string) (isText bool, length int) {
	for _, at := range h.places() {
		if at.name == column {
			return at.isText, int(at.length)
		}
	}
	return false, 0
}

// Predict scores rows whose columns are given by name: values for each row, or for one that stands for all. A column that is not given
// takes the model's default.
func (h *Hop) Predict(ctx context.Context, rows int, columns map[string]Given) ([]float32, error) {
	batch, err := h.Model.queue.Take()
	if err != nil {
		return nil, err
	}
	defer h.Model.queue.Release(batch)
	var room [8]slab
	slabs, places := h.Model.slabs(batch, room[:0]), h.places()
	scores := make([]float32, 0, rows)
	chunk := h.Model.queue.MaxRows()
	for from := 0; from < rows; from += chunk {
		n := min(chunk, rows-from)
		for i := range places {
			at := &places[i]
			values, given := columns[at.name]
			if !given && !at.hasDefault {
				return nil, featurestore.Errorf(featurestore.Invalid, "columns: %q is missing, and the model has no default for it", at.name)
			}
			if err := values.place(&slabs[at.input], at, from, n); err != nil {
				return nil, featurestore.Errorf(featurestore.Invalid, "columns: %q: %v", at.name, err)
			}
		}
		if scores, _, err = h.Model.run(ctx, batch, batching.Request{Rows: n, Scores: scores}, false); err != nil {
			return nil, err
		}
	}
	return scores, nil
}
