package training_test

import (
	"cmp"
	"context"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/training"
)

// memory is a history of events in a slice, with int64 keys.
type memory []featurestore.Event

func (m memory) Estimate(_ context.Context, q *training.Query) (events, entities float64, err error) {
	keys := map[int64]bool{}
	for i := range m {
		keys[m[i].Values[q.KeyFields[0]].Int()] = true
	}
	return float64(len(m)), float64(len(keys)), nil
}

func (m memory) inRange(q *training.Query, r training.Range) []featurestore.Event {
	var events []featurestore.Event
	for _, e := range m {
		if e.Values[q.KeyFields[0]].Int() == q.Keys.Parts[0].Ints[r.Row] && r.From <= e.Time && e.Time < r.To {
			// What was not asked for is not there.
			values := make([]featurestore.Value, len(e.Values))
			for _, f := range q.Fields {
				values[f] = e.Values[f]
			}
			e.Values = values
			events = append(events, e)
		}
	}
	return events
}

func (m memory) Walk(_ context.Context, q *training.Query, yield func(r int, e *featurestore.Event) error) error {
	for i, r := range q.Ranges {
		events := m.inRange(q, r)
		slices.SortStableFunc(events, func(a, b featurestore.Event) int {
			if q.Available {
				return cmp.Compare(max(a.Time+1, a.RecordTime), max(b.Time+1, b.RecordTime))
			}
			return cmp.Compare(a.Time, b.Time)
		})
		for j := range events {
			if err := yield(i, &events[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m memory) Newest(_ context.Context, q *training.Query, yield func(r int, e *featurestore.Event) error) error {
	for i, r := range q.Ranges {
		events := slices.DeleteFunc(m.inRange(q, r), func(e featurestore.Event) bool { return q.Available && e.RecordTime > r.To })
		if len(events) == 0 {
			continue
		}
		newest := slices.MaxFunc(events, func(a, b featurestore.Event) int { return a.Compare(b.Position) })
		if err := yield(i, &newest); err != nil {
			return err
		}
	}
	return nil
}
