package onehoptest

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/stream"
)

// Position is where an event was written.
type Position struct {
	Source    string
	Partition int32
	Offset    int64
}

// visibleTimeout bounds WaitVisible.
const visibleTimeout = 30 * time.Second

// Produce writes events of a source to its topic and returns where they are. An event
// is a string or []byte of JSON as it is, or any other value, which is encoded.
func (o *Onehop) Produce(tb testing.TB, source string, events ...any) []Position {
	tb.Helper()
	records := make([]*kgo.Record, len(events))
	s := o.source(tb, source)
	for i, event := range events {
		records[i] = &kgo.Record{Topic: s.Topic, Value: encode(tb, event)}
	}
	return o.ProduceRecords(tb, source, records...)
}

// ProduceRecords writes records as they are, with their own keys, headers and
// timestamps, to the topic of a source.
func (o *Onehop) ProduceRecords(tb testing.TB, source string, records ...*kgo.Record) []Position {
	tb.Helper()
	s := o.source(tb, source)
	if err := stream.EnsureTopic(tb.Context(), o.kafka, s.Topic, 4, nil); err != nil {
		tb.Fatal(err)
	}
	for _, r := range records {
		r.Topic = s.Topic
	}
	if err := o.kafka.ProduceSync(tb.Context(), records...).FirstErr(); err != nil {
		tb.Fatal(err)
	}
	positions := make([]Position, len(records))
	for i, r := range records {
		positions[i] = Position{Source: source, Partition: r.Partition, Offset: r.Offset}
	}
	return positions
}

func encode(tb testing.TB, event any) []byte {
	tb.Helper()
	switch e := event.(type) {
	case string:
		return []byte(e)
	case []byte:
		return e
	}
	text, err := json.Marshal(event)
	if err != nil {
		tb.Fatalf("onehoptest: the event cannot be encoded: %v", err)
	}
	return text
}

func (o *Onehop) source(tb testing.TB, name string) *featurestore.Source {
	tb.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.catalog == nil || o.catalog.Source(name) == nil {
		tb.Fatalf("onehoptest: there is no source %q in the applied definitions", name)
	}
	return o.catalog.Source(name)
}

// WaitVisible waits until events are in every view of their source, whatever buckets
// of rows they fall into, and these views are served.
func (o *Onehop) WaitVisible(tb testing.TB, positions ...Position) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), visibleTimeout)
	defer cancel()
	for _, p := range last(positions) {
		if why := o.await(ctx, tb, p); why != "" {
			tb.Fatalf("onehoptest: offset %d of partition %d of source %q is not visible after %s: %s", p.Offset, p.Partition, p.Source, visibleTimeout, why)
		}
	}
}

// last is, of positions, the last one of every partition: offsets become visible in order.
func last(positions []Position) []Position {
	type partition struct {
		source string
		number int32
	}
	highest := map[partition]int64{}
	for _, p := range positions {
		at := partition{p.Source, p.Partition}
		highest[at] = max(highest[at], p.Offset)
	}
	var list []Position
	for at, offset := range highest {
		list = append(list, Position{Source: at.source, Partition: at.number, Offset: offset})
	}
	return list
}

// await waits for one event and says why it gave up, or nothing.
func (o *Onehop) await(ctx context.Context, tb testing.TB, p Position) string {
	tb.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		why := o.missing(ctx, tb, p)
		if why == "" {
			return ""
		}
		select {
		case <-ctx.Done():
			return why
		case <-ticker.C:
		}
	}
}

// missing says what an event still waits for.
func (o *Onehop) missing(ctx context.Context, tb testing.TB, p Position) string {
	source := o.source(tb, p.Source)
	meta, err := o.topicID(ctx, source.Topic)
	if err != nil {
		return err.Error()
	}
	o.mu.Lock()
	catalog := o.catalog
	o.mu.Unlock()
	for _, view := range catalog.ViewsOf(source.Name) {
		v, err := ingest.NewView(catalog, view)
		if err != nil {
			return err.Error()
		}
		marks, err := o.store.Marks(ctx, v, ingest.PartitionID{Topic: meta, Partition: p.Partition})
		if err != nil {
			return err.Error()
		}
		for _, m := range marks {
			if !m.Known || m.Next <= p.Offset {
				return "view " + view.Name + " is behind"
			}
		}
		switch live, err := o.store.Live(ctx, online.NewView(catalog.Namespace, view)); {
		case err != nil:
			return err.Error()
		case !live:
			return "view " + view.Name + " is being filled: other partitions are behind"
		}
	}
	return ""
}
