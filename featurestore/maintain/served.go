package maintain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/served"
)

// servedView is a view by which vectors were served.
type servedView struct {
	definitions int64
	view        string
	generation  int
}

// servedComparison compares vectors, chunk by chunk.
type servedComparison struct {
	*ServedVerifier
	deleted      map[string]int64
	comparisons  map[servedView]*comparison
	computations map[string]*computation
	skew         *Skew

	// recomputed are the rows of this chunk's vectors, by view; nil for one without events.
	recomputed map[*served.Record]map[string][]byte
}

// servedRow is one row that a vector was read from.
type servedRow struct {
	record *served.Record
	row    *served.Row
	key    []byte
	entity int // of the chunk's entities
}

// compare compares some vectors, view by view.
func (c *servedComparison) compare(ctx context.Context, records []*served.Record) error {
	c.recomputed = map[*served.Record]map[string][]byte{}
	groups := map[servedView][]servedRow{}
	var order []servedView
	for _, r := range records {
		for i := range r.Rows {
			of := servedView{r.Definitions, r.Rows[i].View, r.Rows[i].Generation}
			if groups[of] == nil {
				order = append(order, of)
			}
			groups[of] = append(groups[of], servedRow{record: r, row: &r.Rows[i]})
		}
	}
	for _, of := range order {
		if err := c.view(ctx, of, groups[of]); err != nil {
			return fmt.Errorf("view %s@%d: %w", of.view, of.generation, err)
		}
	}
	for _, r := range records {
		if err := c.onDemand(r); err != nil {
			return err
		}
	}
	c.skew.Vectors += len(records)
	if c.Progress != nil {
		c.Progress(len(records))
	}
	return nil
}

// comparison compares rows of a view as it was defined; nil when it is not known.
func (c *servedComparison) comparison(of servedView) (*comparison, error) {
	if known, ok := c.comparisons[of]; ok {
		return known, nil
	}
	var made *comparison
	for _, catalog := range c.Catalogs {
		view := catalog.View(of.view)
		if int64(catalog.Version) != of.definitions || view == nil || view.Generation != of.generation {
			continue
		}
		var err error
		if made, err = (&Verifier{Pool: c.Pool, Catalog: catalog, Wait: c.Wait}).newComparison(view); err != nil {
			return nil, err
		}
	}
	c.comparisons[of] = made
	return made, nil
}

// view compares the values that were read from rows of one view.
func (c *servedComparison) view(ctx context.Context, of servedView, rows []servedRow) error {
	compared, err := c.comparison(of)
	if err != nil {
		return err
	}
	if compared == nil {
		c.unchecked(rows, uncheckedDefinition)
		return nil
	}
	rows = c.whole(rows, compared.source.Name)
	if len(rows) == 0 {
		return nil
	}
	batch, err := entitiesOf(compared, rows)
	if err != nil {
		return err
	}
	most := map[ingest.PartitionID]int64{}
	first := rows[0].record.ReadTime
	for _, r := range rows {
		first = min(first, r.record.ReadTime)
		for _, m := range r.row.Marks {
			id := ingest.PartitionID{Topic: m.Topic, Partition: m.Partition}
			most[id] = max(most[id], m.Next)
		}
	}
	s, err := compared.reach(ctx, map[int]*online.Look{0: {Watermarks: most}})
	if errors.Is(err, errBehind) {
		c.unchecked(rows, uncheckedBehind)
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close(ctx)
	events, enough, err := compared.eventsOf(ctx, s, batch, first)
	if err != nil {
		return err
	}
	if !enough {
		c.unchecked(rows, uncheckedRetention)
		return nil
	}
	topics := s.Topics(compared.source.Name)
	for _, r := range rows {
		if err := c.row(compared, r, events[r.entity], topics); err != nil {
			return err
		}
	}
	return nil
}

// whole leaves out the rows that were read before events of their source were deleted.
func (c *servedComparison) whole(rows []servedRow, source string) []servedRow {
	last, ok := c.deleted[source]
	if !ok {
		return rows
	}
	var kept []servedRow
	for i := range rows {
		if rows[i].record.ReadTime <= last {
			c.unchecked(rows[i:i+1], uncheckedDeleted)
		} else {
			kept = append(kept, rows[i])
		}
	}
	return kept
}

// unchecked counts the values of rows that cannot be compared.
func (c *servedComparison) unchecked(rows []servedRow, why string) {
	for _, r := range rows {
		for i := range r.record.Features {
			if view, _, _ := strings.Cut(r.record.Features[i].Name, "."); view == r.row.View { // on-demand features are counted for themselves
				c.skew.Unchecked[why]++
			}
		}
	}
}

// entitiesOf are the entities that the rows are of, each once.
func entitiesOf(c *comparison, rows []servedRow) (*entities, error) {
	batch := newEntities(c.view.Entity)
	known := map[string]int{}
	for i := range rows {
		r := &rows[i]
		at := slices.IndexFunc(r.record.Entities, func(e served.Entity) bool { return e.Name == batch.entity.Name })
		if at < 0 {
			return nil, fmt.Errorf("a vector of request %s has no key of entity %q", r.record.RequestID, batch.entity.Name)
		}
		r.key = r.record.Entities[at].Key
		n, ok := known[string(r.key)]
		if !ok {
			n = batch.len()
			known[string(r.key)] = n
			values, err := batch.entity.ParseKey(r.key)
			if err == nil {
				err = batch.add(values)
			}
			if err != nil {
				return nil, err
			}
		}
		r.entity = n
	}
	return batch, nil
}

// eventsOf are the events of entities that matter to reads since a time, in the order of the
// log. enough says that history has them all.
func (c *comparison) eventsOf(ctx context.Context, s *history.Snapshot, batch *entities, first int64) (events [][]featurestore.Event, enough bool, err error) {
	from, _, enough := since(c.view.Program, first, s.Begin(c.source.Name))
	if !enough {
		return nil, false, nil
	}
	all := make([]int, batch.len())
	for i := range all {
		all[i] = i
	}
	events, err = c.events(ctx, s, batch, all, from)
	return events, true, err
}

// row compares the values that were read from one row.
func (c *servedComparison) row(compared *comparison, r servedRow, events []featurestore.Event, topics []featurestore.TopicID) error {
	next := map[ingest.PartitionID]int64{}
	for _, m := range r.row.Marks {
		next[ingest.PartitionID{Topic: m.Topic, Partition: m.Partition}] = m.Next
	}
	below := make([]featurestore.Event, 0, len(events))
	for i := range events {
		e := &events[i]
		if e.Offset < next[ingest.PartitionID{Topic: topics[e.Topic], Partition: e.Partition}] {
			below = append(below, *e)
		}
	}
	row := compared.foldAll(below)
	if err := compared.reader.Read(row, r.record.ReadTime, compared.want); err != nil {
		return err
	}
	if c.recomputed[r.record] == nil {
		c.recomputed[r.record] = map[string][]byte{}
	}
	c.recomputed[r.record][r.row.View] = row
	for i := range r.record.Features {
		f := &r.record.Features[i]
		view, name, _ := strings.Cut(f.Name, ".")
		at := slices.IndexFunc(compared.columns, func(col featurestore.Column) bool { return col.Name == name })
		if view != r.row.View || at < 0 {
			continue
		}
		have, equal, err := c.point(r.record, f, compared.columns[at].Type, &compared.want[at])
		if err != nil {
			return err
		}
		if !equal {
			c.differ(r.record, f, r.key, &have, &compared.want[at], compared.whyServed(at, have, r.record.ReadTime, below, events))
		}
	}
	return nil
}

// point compares one value with the one that is wanted, and returns what was served.
func (c *servedComparison) point(r *served.Record, f *served.Feature, typ featurestore.Type, want *featurestore.Cell) (have featurestore.Cell, equal bool, err error) {
	c.skew.Points++
	have = featurestore.Cell{Status: f.Status, EventTime: f.EventTime}
	if have.Value, err = served.Value(f.JSON, typ); err != nil {
		return have, false, fmt.Errorf("feature %q of request %s: %w", f.Name, r.RequestID, err)
	}
	return have, same(&have, want), nil
}

func (c *servedComparison) differ(r *served.Record, f *served.Feature, key []byte, have, want *featurestore.Cell, why Reason) {
	c.skew.Different++
	c.skew.Reasons[why]++
	if len(c.skew.Differences) < maxDifferences {
		c.skew.Differences = append(c.skew.Differences, ServedDifference{
			Kind: r.Kind, Name: r.Name, RequestID: r.RequestID, Row: r.Row, ReadTime: r.ReadTime, Key: featurestore.KeyText(key),
			Feature: f.Name, Served: shown(have), History: shown(want), Reason: why,
		})
	}
}

// whyServed finds out why a value is not the one that the events below the watermarks say.
func (c *comparison) whyServed(column int, have featurestore.Cell, at int64, below, all []featurestore.Event) Reason {
	is := func(events []featurestore.Event) bool {
		return c.reader.Read(c.foldAll(events), at, c.have) == nil && same(&have, &c.have[column])
	}
	if len(all) > len(below) && is(all) {
		return Ahead
	}
	for n := max(0, len(below)-maxMissing); n < len(below); n++ {
		if is(below[:n]) {
			return Lost
		}
	}
	return Unknown
}
