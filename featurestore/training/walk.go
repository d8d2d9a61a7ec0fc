package training

import (
	"cmp"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// walker folds events as they come into sight, and answers each row before the first event
// that it does not see.
type walker struct {
	*viewJoin
	rows rowSpan // not answered
}

func (w *walker) begin(span rowSpan) {
	w.reset()
	w.rows = span
}

func (w *walker) event(e *featurestore.Event) error {
	if err := w.answerBefore(sight(e, w.options.Available)); err != nil {
		return err
	}
	w.fold(e)
	return nil
}

// answerBefore answers the rows of before a time.
func (w *walker) answerBefore(t int64) error {
	for ; w.rows.from < w.rows.to; w.rows.from++ {
		row := w.order[w.rows.from]
		if w.spine.Times[row] >= t {
			return nil
		}
		if err := w.answer(row); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) end() error {
	for ; w.rows.from < w.rows.to; w.rows.from++ {
		if err := w.answer(w.order[w.rows.from]); err != nil {
			return err
		}
	}
	return nil
}

// replayer folds events in the order of the log. Where that is also the order in which they
// come into sight they are folded once, else anew for each row's time.
type replayer struct {
	*viewJoin
	rows   rowSpan
	events []featurestore.Event // of the range, owned
}

func (r *replayer) begin(span rowSpan) { r.rows, r.events = span, r.events[:0] }

func (r *replayer) event(e *featurestore.Event) error {
	r.events = append(r.events, e.Clone())
	return nil
}

func (r *replayer) end() error {
	slices.SortFunc(r.events, func(a, b featurestore.Event) int { return a.CompareLog(&b) })
	if r.inSight() {
		slices.SortStableFunc(r.events, func(a, b featurestore.Event) int {
			return cmp.Compare(sight(&a, r.options.Available), sight(&b, r.options.Available))
		})
		w := walker{viewJoin: r.viewJoin}
		w.begin(r.rows)
		for i := range r.events {
			if err := w.event(&r.events[i]); err != nil {
				return err
			}
		}
		return w.end()
	}
	for _, row := range r.order[r.rows.from:r.rows.to] {
		r.reset()
		for i := range r.events {
			if sight(&r.events[i], r.options.Available) <= r.spine.Times[row] {
				r.fold(&r.events[i])
			}
		}
		if err := r.answer(row); err != nil {
			return err
		}
	}
	return nil
}

// inSight says whether the events of each partition came into sight in the order of its log.
func (r *replayer) inSight() bool {
	for i := 1; i < len(r.events); i++ {
		a, b := &r.events[i-1], &r.events[i]
		if a.Partition == b.Partition && sight(a, r.options.Available) > sight(b, r.options.Available) {
			return false
		}
	}
	return true
}
