package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/stream"
)

// liked is the fewest stars of a movie that its user liked.
const liked = 4

// builder folds events into rows in memory and reads them at each label's time.
type builder struct {
	catalog  *featurestore.Catalog
	plan     *plan.Plan
	programs map[string]*fold.Program
	decoders map[string]*stream.Decoder
	request  []featurestore.Field
	states   map[string]map[string]*fold.State // by view, by encoded key

	row   []byte
	cells []featurestore.Cell // of the plan
	line  []string
}

func newBuilder(catalog *featurestore.Catalog, model string) (*builder, error) {
	m := catalog.Model(model)
	if m == nil {
		return nil, fmt.Errorf("the definitions have no model %q", model)
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		return nil, err
	}
	p, err := plan.Compile(catalog, programs, catalog.Service(m.Service).Columns)
	if err != nil {
		return nil, err
	}
	b := &builder{
		catalog: catalog, plan: p, programs: programs, request: m.Request,
		decoders: map[string]*stream.Decoder{}, states: map[string]map[string]*fold.State{},
	}
	for i := range catalog.Sources {
		s := &catalog.Sources[i]
		b.decoders[s.Name] = stream.NewDecoder([]stream.Version{{Source: s}}, nil)
	}
	for i := range catalog.Views {
		b.states[catalog.Views[i].Name] = map[string]*fold.State{}
	}
	b.cells = make([]featurestore.Cell, p.Cells)
	return b, nil
}

func (b *builder) decode(ctx context.Context, r *events.Record, offset int64) (featurestore.Event, error) {
	record := &kgo.Record{Value: r.Value, Timestamp: time.UnixMicro(r.Time), Offset: offset}
	decoded, err := b.decoders[r.Source].Decode(ctx, record, nil)
	if err != nil {
		return featurestore.Event{}, fmt.Errorf("record %s of source %q: %w", r.Value, r.Source, err)
	}
	return decoded[0], nil // no source of the example explodes its records
}

// fold folds an event into the rows of all views of its source.
func (b *builder) fold(source string, event *featurestore.Event) error {
	for _, view := range b.catalog.ViewsOf(source) {
		key, err := b.key(b.catalog.Entity(view.Entity), view.JoinFields, source, event)
		if err != nil {
			return err
		}
		state := b.states[view.Name][string(key)]
		if state == nil {
			state = b.programs[view.Name].NewState()
			b.states[view.Name][string(key)] = state
		}
		state.Fold(event)
	}
	return nil
}

func (b *builder) key(entity *featurestore.Entity, fields []string, source string, event *featurestore.Event) ([]byte, error) {
	values := make([]featurestore.Value, len(fields))
	for i, field := range fields {
		values[i] = event.Values[b.catalog.Source(source).Field(field)]
	}
	return entity.AppendKey(nil, values)
}

// read is the line of a rating: the features just before it. It is valid until the
// next call.
func (b *builder) read(rating *featurestore.Event) ([]string, error) {
	source := b.catalog.Source(events.Ratings)
	for i := range b.plan.Views {
		view := &b.plan.Views[i]
		entity := b.plan.Entities[view.Entity]
		fields := make([]string, len(entity.Keys)) // a rating names user and movie by their join keys
		for k := range entity.Keys {
			fields[k] = entity.Keys[k].Name
		}
		key, err := b.key(entity, fields, events.Ratings, rating)
		if err != nil {
			return nil, err
		}
		var row []byte
		if state := b.states[view.Name][string(key)]; state != nil {
			b.row = state.AppendRow(b.row[:0])
			row = b.row
		}
		cells := b.cells[view.First : view.First+len(view.Columns)]
		if err := view.Reader.Read(row, rating.Time, cells); err != nil {
			return nil, err
		}
		for c := range cells { // the next row takes this one's memory
			cells[c].Value = cells[c].Value.Clone()
		}
	}
	value := func(field string) featurestore.Value { return rating.Values[source.Field(field)] }
	label := "0"
	if value("rating").Float() >= liked {
		label = "1"
	}
	b.line = append(b.line[:0], value("user_id").String(), value("movie_id").String(), strconv.FormatInt(rating.Time, 10), label)
	for _, c := range b.plan.Columns {
		b.line = append(b.line, text(b.cells[c.Cell].Value))
	}
	return b.requestFields(rating.Time)
}

func (b *builder) requestFields(at int64) ([]string, error) {
	hour, day := events.Request(at)
	for _, f := range b.request {
		switch f.Name {
		case "hour_of_day":
			b.line = append(b.line, strconv.FormatFloat(hour, 'g', 8, 64))
		case "day_of_week":
			b.line = append(b.line, strconv.FormatFloat(day, 'g', -1, 64))
		default:
			return nil, fmt.Errorf("the model wants a request field %q, which this program can't compute: add it to package events", f.Name)
		}
	}
	return b.line, nil
}

// text is a feature as the training set holds it: empty when missing.
func text(v featurestore.Value) string {
	number, ok := v.Number()
	if !ok {
		return ""
	}
	return strconv.FormatFloat(number, 'g', -1, 64)
}
