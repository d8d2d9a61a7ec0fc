package cases

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
)

// Failure is one thing that is not as expected.
type Failure struct {
	// Line is where the expectation stands in the file, or the event that has none.
	Line int `json:"line"`
	// Message says what was got and what was wanted.
	Message string `json:"message"`
}

// Run runs one case and returns what is not as expected: of events, counts and reads, in the
// order of the file. An error means that the case itself is wrong; it says where.
func (s *Suite) Run(ctx context.Context, c *Case) ([]Failure, error) {
	w, err := newWorld(s.Catalog)
	if err != nil {
		return nil, err
	}
	wrong := func(line int, format string, args ...any) error {
		line = cmp.Or(line, c.line, 1) // where nothing is written there is no line
		return fmt.Errorf("%s:%d: case %q: %w", s.Name, line, c.Name, fmt.Errorf(format, args...))
	}
	rejected := map[int]error{}
	for i := range c.Events {
		reason, err := w.take(ctx, &c.Events[i])
		if err != nil {
			return nil, wrong(c.Events[i].line, "event %d: %w", i+1, err)
		}
		if reason != nil {
			rejected[i+1] = reason
		}
	}
	if len(c.Reads)+len(c.Rejected)+len(c.Counts) == 0 {
		return nil, wrong(c.line, "it checks nothing: it needs reads, rejected or counts")
	}
	failures := checkRejected(c, rejected)
	for i := range c.Counts {
		got, err := w.checkCount(&c.Counts[i])
		if err != nil {
			return nil, wrong(c.Counts[i].line, "counts: %w", err)
		}
		failures = append(failures, got...)
	}
	for i := range c.Reads {
		got, line, err := w.check(&c.Reads[i])
		if err != nil {
			return nil, wrong(line, "read %d: %w", i+1, err)
		}
		failures = append(failures, got...)
	}
	return failures, nil
}

// world is the state of all views, in memory.
type world struct {
	catalog  *featurestore.Catalog
	programs map[string]*fold.Program
	sources  map[string]*source
	views    map[string]*view
}

type source struct {
	*featurestore.Source
	decoder *stream.Decoder
	next    map[int32]int64 // offset by partition
}

type view struct {
	*ingest.View
	rows   map[string]*fold.State
	counts map[string]int
}

func newWorld(catalog *featurestore.Catalog) (*world, error) {
	w := &world{catalog: catalog, programs: map[string]*fold.Program{}, sources: map[string]*source{}, views: map[string]*view{}}
	for i := range catalog.Sources {
		plain := catalog.Sources[i]
		plain.Format = featurestore.JSON
		if plain.TimeUnit == "" && !plain.TimeRecord {
			plain.TimeUnit = featurestore.Microseconds // a type of the format said it
		}
		w.sources[plain.Name] = &source{
			Source: &plain, decoder: stream.NewDecoder([]stream.Version{{Source: &plain}}, nil), next: map[int32]int64{},
		}
	}
	for i := range catalog.Views {
		v, err := ingest.NewView(catalog, &catalog.Views[i])
		if err != nil {
			return nil, err
		}
		w.programs[v.Name] = v.Program
		w.views[v.Name] = &view{View: v, rows: map[string]*fold.State{}, counts: map[string]int{}}
	}
	return w, nil
}

// take folds an event into every view of its source. It returns the reason when the event
// is not accepted.
func (w *world) take(ctx context.Context, e *Event) (reason, err error) {
	src, events, reason, err := w.decode(ctx, e)
	if reason != nil || err != nil {
		return reason, err
	}
	for _, v := range w.views {
		if v.Source != src.Name {
			continue
		}
		for i := range events {
			if err := v.fold(&events[i]); err != nil {
				return nil, fmt.Errorf("view %q: %w", v.Name, err)
			}
		}
	}
	return nil, nil
}

// decode makes the events of a record, or says why it is not accepted.
func (w *world) decode(ctx context.Context, e *Event) (src *source, events []featurestore.Event, reason, err error) {
	if src, err = w.source(e.Source); err != nil {
		return nil, nil, nil, err
	}
	record, err := src.record(e)
	if err != nil {
		return nil, nil, nil, err
	}
	events, reason = src.decoder.Decode(ctx, record, nil)
	return src, events, reason, nil
}

// Decode decodes records as the catalog's sources do, each the next of its partition, and
// returns the events by source. All must be accepted.
func Decode(ctx context.Context, catalog *featurestore.Catalog, records []Event) (map[string][]featurestore.Event, error) {
	w, err := newWorld(catalog)
	if err != nil {
		return nil, err
	}
	decoded := map[string][]featurestore.Event{}
	for i := range records {
		src, events, reason, err := w.decode(ctx, &records[i])
		if err := errors.Join(reason, err); err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		decoded[src.Name] = append(decoded[src.Name], events...)
	}
	return decoded, nil
}

func (w *world) source(name string) (*source, error) {
	if name == "" {
		named := slices.DeleteFunc(slices.Clone(w.catalog.Sources), func(s featurestore.Source) bool { return s.Name == featurestore.ServedSource })
		if len(named) != 1 {
			return nil, errors.New("\"source\" is missing: there is more than one")
		}
		name = named[0].Name
	}
	src, ok := w.sources[name]
	if !ok {
		return nil, fmt.Errorf("there is no source %q", name)
	}
	return src, nil
}

// record makes the Kafka record of an event, the next of its partition.
func (s *source) record(e *Event) (*kgo.Record, error) {
	at := cmp.Or(e.At, e.Time)
	if !at.given {
		return nil, errors.New("it has neither \"time\", the event time, nor \"at\", the record's timestamp")
	}
	r := &kgo.Record{Topic: s.Topic, Partition: e.Partition, Offset: s.next[e.Partition], Timestamp: at.time()}
	s.next[e.Partition]++
	if e.Key != "" {
		r.Key = []byte(e.Key)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(e.Headers[name])})
	}
	if e.Value == nil {
		return r, nil
	}
	if e.Time.given && !s.TimeRecord {
		if err := s.putTime(e); err != nil {
			return nil, err
		}
	}
	var err error
	r.Value, err = json.Marshal(e.Value)
	if err != nil {
		return nil, fmt.Errorf("its value is no JSON: %w", err)
	}
	return r, nil
}

// putTime writes the event time where the source has it.
func (s *source) putTime(e *Event) error {
	steps := s.TimeSteps()
	if s.OfElement(steps) {
		return errors.New("\"time\" cannot be put into the elements of an array: write it there")
	}
	at := e.Value
	for _, step := range steps[:len(steps)-1] {
		below, ok := at[step].(map[string]any)
		if !ok {
			below = map[string]any{}
			at[step] = below
		}
		at = below
	}
	us := e.Time.us
	scale := map[featurestore.TimeUnit]int64{featurestore.Seconds: 1e6, featurestore.Milliseconds: 1e3, featurestore.Microseconds: 1}[s.TimeUnit]
	switch {
	case s.TimeUnit == featurestore.RFC3339:
		at[steps[len(steps)-1]] = featurestore.FormatTime(us)
	case us%scale != 0:
		return fmt.Errorf("\"time\" %s is not a whole number of %s, the source's unit", featurestore.FormatTime(us), s.TimeUnit)
	default:
		at[steps[len(steps)-1]] = us / scale
	}
	return nil
}

var outcomes = map[fold.Outcome]string{fold.Folded: "folded", fold.Late: "late", fold.Duplicate: "duplicate"}

func (v *view) fold(e *featurestore.Event) error {
	var join []featurestore.Value
	for _, field := range v.JoinFields {
		join = append(join, e.Values[field])
	}
	key, err := v.Entity.AppendKey(nil, join)
	if err != nil {
		return err
	}
	state, ok := v.rows[string(key)]
	if !ok {
		state = v.Program.NewState()
		v.rows[string(key)] = state
	}
	outcome := state.Fold(e)
	v.counts[outcomes[outcome]]++
	if outcome == fold.Late {
		v.counts["folded"]++ // late ones are among them, as in the metrics
	}
	if state.Empty() {
		delete(v.rows, string(key))
	}
	return nil
}

func checkRejected(c *Case, rejected map[int]error) (failures []Failure) {
	for _, want := range c.Rejected {
		reason, ok := rejected[want.Event]
		delete(rejected, want.Event)
		switch {
		case !ok:
			failures = append(failures, Failure{want.line, fmt.Sprintf("event %d was accepted; it was to be rejected", want.Event)})
		case !strings.Contains(reason.Error(), want.Reason):
			failures = append(failures, Failure{want.line, fmt.Sprintf("event %d was rejected because: %v; the reason was to say %q", want.Event, reason, shorten(want.Reason))})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(rejected)) {
		failures = append(failures, Failure{c.Events[n-1].line, fmt.Sprintf("event %d was rejected: %v", n, rejected[n])})
	}
	return failures
}

func (w *world) checkCount(c *count) (failures []Failure, err error) {
	v, ok := w.views[c.view]
	if !ok {
		return nil, fmt.Errorf("there is no view %q", c.view)
	}
	if !slices.Contains([]string{"folded", "late", "duplicate"}, c.outcome) {
		return nil, fmt.Errorf("view %q: %q is none of folded, late and duplicate", c.view, c.outcome)
	}
	if got := v.counts[c.outcome]; got != c.events {
		failures = append(failures, Failure{c.line, fmt.Sprintf("view %s: %d events are %s, want %d", c.view, got, c.outcome, c.events)})
	}
	return failures, nil
}
