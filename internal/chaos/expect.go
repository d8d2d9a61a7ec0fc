package chaos

import (
	"context"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
)

// place names a record for good: the incarnation of its topic, partition and offset.
type place struct {
	topic     featurestore.TopicID
	partition int32
	offset    int64
}

// truth is what the logs say: which records are accepted, and to which entities they
// belong.
type truth struct {
	decoder  *stream.Decoder
	places   []place
	records  []*kgo.Record
	rejected map[place]*kgo.Record
	// entities lists, for each view by name, the accepted records of each entity key as
	// indexes of records, partition by partition in order of offset.
	entities map[string]map[string][]int32
}

// newTruth decodes the logs by all versions of the source's definition, as the services do.
func newTruth(versions []*featurestore.Catalog, views []*ingest.View, logs []*Log) (*truth, error) {
	t := &truth{rejected: map[place]*kgo.Record{}, entities: map[string]map[string][]int32{}}
	var list []stream.Version
	for _, c := range versions {
		list = append(list, stream.Version{From: c.EffectiveAt, Source: c.Source(sourceName)})
	}
	t.decoder = stream.NewDecoder(list, nil)
	for _, v := range views {
		t.entities[v.Name] = map[string][]int32{}
	}
	for _, log := range logs {
		for _, r := range log.Records {
			if err := t.add(views, log.ID, r); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func (t *truth) add(views []*ingest.View, topic featurestore.TopicID, r *kgo.Record) error {
	at := place{topic, r.Partition, r.Offset}
	var event featurestore.Event
	if reason := t.decode(r, &event); reason != nil {
		t.rejected[at] = r
		return nil //nolint:nilerr // that the record is rejected is what we want to know
	}
	index := int32(len(t.records))
	t.places, t.records = append(t.places, at), append(t.records, r)
	for _, v := range views {
		var join []featurestore.Value
		for _, field := range v.JoinFields {
			join = append(join, event.Values[field])
		}
		key, err := v.Entity.AppendKey(nil, join)
		if err != nil {
			return fmt.Errorf("the key of partition %d, offset %d: %w", r.Partition, r.Offset, err)
		}
		t.entities[v.Name][string(key)] = append(t.entities[v.Name][string(key)], index)
	}
	return nil
}

// decode decodes a record, which holds one event.
func (t *truth) decode(r *kgo.Record, event *featurestore.Event) error {
	events, err := t.decoder.Decode(context.Background(), r, nil)
	if err != nil {
		return err
	}
	*event = events[0]
	return nil
}

// expected is what a row must be.
type expected struct {
	row    []byte // nil for no row
	events int
	// weight is the sum of the absolute values that the view may have summed.
	weight float64
}

// row folds the events of an entity that lie below the watermarks of its bucket, all at
// once, into an empty state.
func (t *truth) row(v *ingest.View, key string, below map[partitionID]int64) (e expected, err error) {
	state := v.Program.NewState()
	for _, index := range t.entities[v.Name][key] {
		at, r := t.places[index], t.records[index]
		if at.offset >= below[partitionID{at.topic, at.partition}] {
			continue
		}
		var event featurestore.Event
		if err := t.decode(r, &event); err != nil {
			return e, fmt.Errorf("a record is decoded once and not again: %w", err)
		}
		state.Fold(&event)
		e.events++
		for _, value := range event.Values {
			if value.Type == featurestore.Float64 {
				e.weight += math.Abs(value.Float())
			}
		}
	}
	if e.events > 0 {
		e.row = state.AppendRow(nil)
	}
	return e, nil
}
