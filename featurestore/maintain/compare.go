package maintain

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/training"
)

// comparison compares the rows of one view.
type comparison struct {
	*Verifier
	view    *ingest.View
	online  *online.View
	source  *featurestore.Source
	reader  *fold.Reader
	columns []featurestore.Column
	result  *Verification

	// nowOnly says that history does not reach back for reads of before now.
	nowOnly    bool
	state      *fold.State
	have, want []featurestore.Cell
}

func (v *Verifier) newComparison(view *featurestore.View) (*comparison, error) {
	compiled, err := ingest.NewView(v.Catalog, view)
	if err != nil {
		return nil, err
	}
	c := &comparison{
		Verifier: v, view: compiled, online: online.NewView(v.Catalog.Namespace, view),
		source: v.Catalog.Source(view.Source), columns: view.Columns(),
		result: &Verification{View: view.Name, Generation: view.Generation, Different: map[Reason]int{}},
		state:  compiled.Program.NewState(),
	}
	var names []string
	for _, column := range c.columns {
		names = append(names, column.Name)
	}
	c.reader, err = compiled.Program.Reader(names)
	c.have, c.want = make([]featurestore.Cell, len(names)), make([]featurestore.Cell, len(names))
	return c, err
}

// bucket compares rows of one bucket with the fold of their events below its watermarks.
func (c *comparison) bucket(ctx context.Context, s *history.Snapshot, batch *entities, rows []int, look *online.Look) error {
	until, err := s.Until(c.offsets(look.Watermarks))
	if err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	from, whole, enough := since(c.view.Program, now, s.Begin(c.source.Name))
	if !enough {
		c.result.Unchecked += len(rows)
		return nil
	}
	c.nowOnly = !whole
	events, err := c.events(ctx, until, batch, rows, from)
	if err != nil {
		return err
	}
	for i := range rows {
		if err := c.row(batch.keys[rows[i]], look.Rows[i], events[i], now); err != nil {
			return err
		}
	}
	return nil
}

// events are those of each row in the order of the log, from a time on.
func (c *comparison) events(ctx context.Context, s *history.Snapshot, batch *entities, rows []int, from int64) ([][]featurestore.Event, error) {
	q := batch.query(training.Query{Source: c.source, KeyFields: c.view.JoinFields, Fields: c.view.Program.Fields()}, rows, from)
	events := make([][]featurestore.Event, len(rows))
	err := s.Walk(ctx, q, func(r int, e *featurestore.Event) error {
		events[r] = append(events[r], e.Clone())
		return nil
	})
	for _, list := range events {
		slices.SortFunc(list, func(a, b featurestore.Event) int { return a.CompareLog(&b) })
	}
	return events, err
}

// since is the event time before which no event matters to a row that Redis has, or where
// history begins. whole says that nothing is missing from there on, enough that nothing is
// that matters to a read as of now.
func since(program *fold.Program, now, begin int64) (from int64, whole, enough bool) {
	lookback := program.Lookback()
	if lookback == 0 {
		return 0, begin == 0, begin == 0
	}
	from = max(0, now-2*lookback-ingest.ExpirySlack.Microseconds())
	return max(from, begin), from >= begin, now-lookback >= begin
}

// row compares one row.
func (c *comparison) row(key, have []byte, events []featurestore.Event, now int64) error {
	c.result.Rows++
	c.result.Points += len(c.columns)
	want := c.foldAll(events)
	at, err := c.differ(have, want, now)
	switch {
	case errors.Is(err, fold.ErrOtherDefinition):
		c.note(Difference{Key: featurestore.KeyText(key), Reason: Definition})
		return nil
	case err != nil || at < 0:
		return err
	}
	d := Difference{Key: featurestore.KeyText(key), Column: c.columns[at].Name, Online: shown(&c.have[at]), History: shown(&c.want[at])}
	d.Reason = c.why(have, want, events, now)
	c.note(d)
	return nil
}

// note counts a row that differs.
func (c *comparison) note(d Difference) {
	c.result.Different[d.Reason]++
	if len(c.result.Differences) < maxDifferences {
		c.result.Differences = append(c.result.Differences, d)
	}
}

// foldAll is the row of events; nil for none.
func (c *comparison) foldAll(events []featurestore.Event) []byte {
	c.state.Reset()
	for i := range events {
		c.state.Fold(&events[i])
	}
	if c.state.Empty() {
		return nil
	}
	return c.state.AppendRow(nil)
}

// differ is the first column in which two rows differ to a reader, now or just after their
// newest event, or −1.
func (c *comparison) differ(have, want []byte, now int64) (column int, err error) {
	if bytes.Equal(have, want) {
		return -1, nil
	}
	newest := max(c.reader.Newest(have), c.reader.Newest(want)) + 1
	times := []int64{max(now, newest)}
	if have != nil && !c.nowOnly { // a row that Redis has forgotten is compared as of now only
		times = append(times, newest)
	}
	for _, t := range times {
		if err := c.reader.Read(have, t, c.have); err != nil {
			return 0, err
		}
		if err := c.reader.Read(want, t, c.want); err != nil {
			return 0, err
		}
		for i := range c.have {
			if !same(&c.have[i], &c.want[i]) {
				return i, nil
			}
		}
	}
	return -1, nil
}

// same says whether two cells are equal, but for the last bits of a float, which depend on
// the order in which partitions were read.
func same(a, b *featurestore.Cell) bool {
	if a.Status != b.Status || a.EventTime != b.EventTime {
		return false
	}
	if a.Value.Type == featurestore.Float64 && b.Value.Type == featurestore.Float64 {
		x, y := a.Value.Float(), b.Value.Float()
		return x == y || math.Abs(x-y) <= 1e-9*max(1, math.Abs(x), math.Abs(y))
	}
	return a.Value.Equal(b.Value)
}

// maxMissing is how many events that are missing at the end are told from others.
const maxMissing = 1000

// why finds out why a row is not the one that its events say.
func (c *comparison) why(have, want []byte, events []featurestore.Event, now int64) Reason {
	if have == nil {
		return Lost
	}
	if want == nil || len(events) == 0 {
		return Unknown
	}
	onTime := make([]featurestore.Event, 0, len(events))
	newest := int64(0)
	for _, e := range events {
		if e.Time >= newest {
			onTime, newest = append(onTime, e), e.Time
		}
	}
	if len(onTime) < len(events) && c.equal(have, c.foldAll(onTime), now) {
		return Late
	}
	for n := max(0, len(events)-maxMissing); n < len(events); n++ { // without the last ones
		if c.equal(have, c.foldAll(events[:n]), now) {
			return Lost
		}
	}
	if c.reader.Newest(have) < c.reader.Newest(want) {
		return Lost
	}
	return Unknown
}

func (c *comparison) equal(have, want []byte, now int64) bool {
	at, err := c.differ(have, want, now)
	return err == nil && at < 0
}

// maxShown is how many bytes of a value are shown.
const maxShown = 100

func shown(c *featurestore.Cell) string {
	if c.Status != featurestore.Present {
		return c.Status.String()
	}
	text := c.Value.String()
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}
