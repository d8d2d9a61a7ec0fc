package training

import (
	"context"
	"fmt"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/plan"
)

// Options are choices of a join; the zero value is by event time alone.
type Options struct {
	// Available counts only events that had arrived at each row's time.
	Available bool
	// EventTimes asks for the times of the newest events behind the values.
	EventTimes bool
	// Progress, if set, is told of work done: how many rows of one view were answered since
	// the last call. Each view answers every row once.
	Progress func(rows int)
}

// Join is a compiled training set: a plan with the programs of its views. It is immutable
// and safe for concurrent use.
type Join struct {
	plan     *plan.Plan
	programs map[string]*fold.Program
}

// NewJoin joins the features of a plan that was compiled with the programs.
func NewJoin(p *plan.Plan, programs map[string]*fold.Program) *Join {
	return &Join{plan: p, programs: programs}
}

// Plan is the plan of the join.
func (j *Join) Plan() *plan.Plan { return j.plan }

// Answer is what a join adds to a spine.
type Answer struct {
	// Columns are those of the plan, in its order.
	Columns []Column
	// Views says how each view of the plan was joined.
	Views []Report
}

// Report says how a view was joined.
type Report struct {
	View string
	// Way is "lookup", one question for each row's newest event, or "walk": the events of
	// each entity in order of time.
	Way string
	// Events is how many events were read.
	Events int64
}

// The ways to join a view.
const (
	Lookup = "lookup"
	Walk   = "walk"
)

// Do joins a spine. Rows come back in the order of the spine, all of them.
func (j *Join) Do(ctx context.Context, history History, spine *Spine, o Options) (*Answer, error) {
	if len(spine.Request) != len(j.plan.Request) {
		return nil, fmt.Errorf("the spine has %d request fields; the features need %d", len(spine.Request), len(j.plan.Request))
	}
	a := &Answer{}
	cells := j.cells(len(spine.Times), o.EventTimes)
	orders := make([][]uint32, len(j.plan.Entities))
	for i := range j.plan.Views {
		view := &j.plan.Views[i]
		if orders[view.Entity] == nil {
			orders[view.Entity] = spine.order(view.Entity)
		}
		v := j.newView(view, spine, orders[view.Entity], cells[view.First:], o)
		if err := v.join(ctx, history); err != nil {
			return nil, fmt.Errorf("joining view %q: %w", view.Name, err)
		}
		a.Views = append(a.Views, Report{View: view.Name, Way: v.way, Events: v.events})
	}
	if err := j.compute(ctx, spine, cells); err != nil {
		return nil, err
	}
	for i := range j.plan.Columns {
		a.Columns = append(a.Columns, cells[j.plan.Columns[i].Cell])
	}
	return a, nil
}

// cells are the columns of all cells of the plan's rows.
func (j *Join) cells(rows int, eventTimes bool) []Column {
	columns := make([]Column, 0, j.plan.Cells)
	for i := range j.plan.Views {
		v := &j.plan.Views[i]
		for _, c := range v.Columns {
			columns = append(columns, NewColumn(featurestore.Ref{View: v.Name, Column: c.Name}, c.Type, rows, eventTimes))
		}
	}
	for i := range j.plan.OnDemand {
		o := &j.plan.OnDemand[i]
		columns = append(columns, NewColumn(o.Ref, o.Expression.Type(), rows, eventTimes))
	}
	return columns
}

// computeRows is how many rows are computed between two looks at the context.
const computeRows = 1024

// compute computes the on-demand features of every row.
func (j *Join) compute(ctx context.Context, spine *Spine, columns []Column) error {
	if len(j.plan.OnDemand) == 0 {
		return nil
	}
	computer := j.plan.Computer()
	read := len(columns) - len(j.plan.OnDemand)
	cells, request := make([]featurestore.Cell, len(columns)), make([]featurestore.Value, len(spine.Request))
	for row := range spine.Times {
		if row%computeRows == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range read {
			cells[i] = columns[i].Cell(row)
		}
		for i := range request {
			request[i] = spine.Request[i].Cell(row).Value
		}
		computer.Compute(cells, request)
		for i := read; i < len(columns); i++ {
			columns[i].Set(uint32(row), &cells[i])
		}
	}
	return nil
}

func (j *Join) newView(view *plan.View, spine *Spine, order []uint32, columns []Column, o Options) *viewJoin {
	v := &viewJoin{
		program: j.programs[view.Name], reader: view.Reader, spine: spine, order: order, options: o,
		cells: make([]featurestore.Cell, len(view.Columns)),
		query: Query{Source: j.plan.Catalog.Source(view.Source), Keys: &spine.Keys[view.Entity], Available: o.Available},
	}
	for c := range view.Columns {
		v.columns = append(v.columns, &columns[c])
	}
	for _, f := range view.JoinFields {
		v.query.KeyFields = append(v.query.KeyFields, v.query.Source.Field(f))
	}
	v.query.Fields = v.program.Fields()
	v.state = v.program.NewState()
	return v
}
