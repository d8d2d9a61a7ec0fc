package maintain

import (
	"context"
	"fmt"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// Sampled are the values that one feature had at one time.
type Sampled struct {
	Ref featurestore.Ref
	// At is the time, in microseconds.
	At    int64
	Cells []featurestore.Cell
}

// Sample reads the features of a join as they were at some times, for about n entities of
// each kind that random events are of. It returns the values feature by feature, and of
// each in the order of times. Features that are not of one entity, as those that are computed
// from request fields, are left out.
func Sample(ctx context.Context, s *history.Snapshot, join *training.Join, times []int64, n int) ([]Sampled, error) {
	p := join.Plan()
	chosen := make([]*entities, len(p.Entities))
	rows := 0
	for i := range p.Entities {
		some, err := someEntities(ctx, s, p, i, n)
		if err != nil {
			return nil, err
		}
		chosen[i], rows = some, max(rows, some.len())
	}
	sampled := make([]Sampled, 0, len(p.Columns)*len(times))
	for i := range p.Columns {
		if _, one := p.EntityOf(&p.Columns[i]); !one {
			continue
		}
		for _, t := range times {
			sampled = append(sampled, Sampled{Ref: p.Columns[i].Ref, At: t})
		}
	}
	for i, t := range times {
		spine := &training.Spine{Times: slices.Repeat([]int64{t}, rows)}
		for _, some := range chosen {
			spine.Keys = append(spine.Keys, some.cycle(rows))
		}
		for _, field := range p.Request { // nobody looks at what is computed from them
			spine.Request = append(spine.Request, training.NewColumn(featurestore.Ref{Column: field.Name}, field.Type, rows, false))
		}
		answer, err := join.Do(ctx, s, spine, training.Options{})
		if err != nil {
			return nil, err
		}
		next := i
		for c := range answer.Columns {
			entity, one := p.EntityOf(&p.Columns[c])
			if !one {
				continue
			}
			at := &sampled[next]
			next += len(times)
			// A kind with fewer entities than another comes around; once is enough.
			for row := range chosen[entity].len() {
				at.Cells = append(at.Cells, answer.Columns[c].Cell(row))
			}
		}
	}
	return sampled, nil
}

// someEntities are about n entities of one kind, of events of the first view of it.
func someEntities(ctx context.Context, s *history.Snapshot, p *plan.Plan, kind, n int) (*entities, error) {
	at := slices.IndexFunc(p.Views, func(v plan.View) bool { return v.Entity == kind })
	view := &p.Views[at]
	source := p.Catalog.Source(view.Source)
	var fields []int
	for _, f := range view.JoinFields {
		fields = append(fields, source.Field(f))
	}
	some := newEntities(p.Entities[kind])
	if err := s.Keys(ctx, source, fields, n, some.add); err != nil {
		return nil, fmt.Errorf("choosing entities of %q: %w", p.Entities[kind].Name, err)
	}
	return some, nil
}

// cycle are the keys over so many rows, again and again; rows without a key if there are
// none.
func (e *entities) cycle(rows int) training.Keys {
	keys := training.Keys{Parts: make([]plan.KeyColumn, len(e.parts))}
	if e.len() == 0 {
		keys.Null = slices.Repeat([]bool{true}, rows)
		return keys
	}
	for i := range e.parts {
		keys.Parts[i] = plan.KeyColumn{
			Ints: around(e.parts[i].Ints, rows), Strings: around(e.parts[i].Strings, rows), Bytes: around(e.parts[i].Bytes, rows),
		}
	}
	return keys
}

func around[T any](values []T, rows int) []T {
	if len(values) == 0 {
		return nil
	}
	all := make([]T, rows)
	for i := range all {
		all[i] = values[i%len(values)]
	}
	return all
}
