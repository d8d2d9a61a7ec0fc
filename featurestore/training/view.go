package training

import (
	"context"
	"fmt"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// viewJoin joins the columns of one view to a spine.
type viewJoin struct {
	program *fold.Program
	reader  *fold.Reader
	spine   *Spine
	order   []uint32 // the spine's rows, by key and time
	columns []*Column
	options Options
	query   Query
	// spans are, for each range of the query, its rows: positions in order.
	spans []rowSpan

	way    string
	events int64
	told   int // rows of which Options.Progress knows

	state *fold.State
	row   []byte // the state, packed; empty for none
	fresh bool   // row is the state's
	cells []featurestore.Cell
}

// rowSpan is a stretch of viewJoin.order: rows of one entity, in order of time.
type rowSpan struct{ from, to int }

// batch is how many ranges one question to history has at most.
const batch = 32_768

func (v *viewJoin) join(ctx context.Context, history History) error {
	if err := v.choose(ctx, history); err != nil {
		return err
	}
	for at := 0; at < len(v.order); {
		v.query.Ranges, v.spans = v.query.Ranges[:0], v.spans[:0]
		for at < len(v.order) && len(v.spans) < batch {
			span := rowSpan{from: at, to: at + 1}
			if v.way == Walk {
				span.to = v.spanEnd(at)
			}
			v.add(span)
			at = span.to
		}
		if err := v.ask(ctx, history); err != nil {
			return err
		}
		v.tell(at)
	}
	v.tell(len(v.spine.Times)) // those without a key
	return nil
}

// lookupCost is what the lookup of a newest event takes, in the time that it takes to read
// an event of an entity; measured on events that were in memory.
const lookupCost = 6

// choose decides how to join. Newest events can be looked up one by one; where the spine
// has many rows of each entity it takes less to read all events of each.
func (v *viewJoin) choose(ctx context.Context, history History) error {
	v.way = Walk
	if !v.program.NewestOnly() {
		return nil
	}
	events, entities, err := history.Estimate(ctx, &v.query)
	if err != nil {
		return fmt.Errorf("estimating: %w", err)
	}
	wanted := 0.0 // entities of the spine
	for at := range v.order {
		if at == 0 || v.query.Keys.compare(v.order[at-1], v.order[at]) != 0 {
			wanted++
		}
	}
	if perEntity := events / max(entities, 1); float64(len(v.order))*lookupCost <= wanted*perEntity {
		v.way = Lookup
	}
	return nil
}

// spanEnd is the end of the rows of one entity that follow the one at from so closely that
// the events before one matter to the next.
func (v *viewJoin) spanEnd(from int) int {
	lookback, to := v.program.Lookback(), from+1
	for to < len(v.order) && v.query.Keys.compare(v.order[from], v.order[to]) == 0 {
		if gap := v.spine.Times[v.order[to]] - v.spine.Times[v.order[to-1]]; lookback > 0 && gap > lookback {
			break
		}
		to++
	}
	return to
}

func (v *viewJoin) add(span rowSpan) {
	r := Range{Row: v.order[span.from], To: v.spine.Times[v.order[span.to-1]]}
	if lookback := v.program.Lookback(); lookback > 0 {
		r.From = max(0, v.spine.Times[r.Row]-lookback)
	}
	v.query.Ranges, v.spans = append(v.query.Ranges, r), append(v.spans, span)
}

// ask brings the events of the query's ranges and answers their rows.
func (v *viewJoin) ask(ctx context.Context, history History) error {
	ask := history.Walk
	if v.way == Lookup {
		ask = history.Newest
	}
	var take taker = &walker{viewJoin: v}
	if v.program.Ordered() {
		take = &replayer{viewJoin: v}
	}
	next := 0 // the range that is not begun
	err := ask(ctx, &v.query, func(r int, e *featurestore.Event) error {
		for ; next <= r; next++ {
			if next > 0 {
				if err := take.end(); err != nil {
					return err
				}
			}
			take.begin(v.spans[next])
		}
		v.events++
		return take.event(e)
	})
	if err != nil {
		return err
	}
	for ; next <= len(v.spans); next++ {
		if next > 0 {
			if err := take.end(); err != nil {
				return err
			}
		}
		if next < len(v.spans) {
			take.begin(v.spans[next])
		}
	}
	return nil
}

// taker takes the events of one range after the other and answers its rows.
type taker interface {
	begin(span rowSpan)
	event(e *featurestore.Event) error
	end() error
}

// tell tells of progress up to a row.
func (v *viewJoin) tell(rows int) {
	if v.options.Progress != nil && rows > v.told {
		v.options.Progress(rows - v.told)
		v.told = rows
	}
}

func (v *viewJoin) reset() {
	v.state.Reset()
	v.fresh = false
}

func (v *viewJoin) fold(e *featurestore.Event) {
	v.state.Fold(e)
	v.fresh = false
}

// answer reads the state at a row's time.
func (v *viewJoin) answer(row uint32) error {
	if !v.fresh {
		v.row, v.fresh = v.row[:0], true
		if !v.state.Empty() {
			v.row = v.state.AppendRow(v.row)
		}
	}
	packed := v.row
	if len(packed) == 0 {
		packed = nil
	}
	if err := v.reader.Read(packed, v.spine.Times[row], v.cells); err != nil {
		return err
	}
	for i, c := range v.columns {
		c.Set(row, &v.cells[i])
	}
	return nil
}
