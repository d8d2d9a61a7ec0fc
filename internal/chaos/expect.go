package chaos

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
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
	views    []*ingest.View
	sample   sample
	accepted int
	rejected map[place]*kgo.Record
	// times are the timestamps of the accepted records in microseconds, by offset; 0 where
	// none was accepted.
	times map[partitionID][]int64
	// places and records are the accepted records of the sampled entities.
	places  []place
	records []*kgo.Record
	// entities lists, for each view by name, the records of each sampled entity key as
	// indexes of records, partition by partition in order of offset.
	entities map[string]map[string][]int32
	// others are, for each view, the hashes of the entity keys that were not sampled; true
	// when their row was seen.
	others map[string]map[uint64]bool
}

// sample draws one of so many entities by their key.
type sample struct {
	seed maphash.Seed
	of   uint64
}

func (s sample) has(key []byte) (hash uint64, has bool) {
	hash = maphash.Bytes(s.seed, key)
	return hash, hash%s.of == 0
}

// newTruth decodes logs by all versions of the source's definition, as the services do. It
// compares the rows of one of so many entities; 0 means all.
func newTruth(ctx context.Context, versions []*featurestore.Catalog, views []*ingest.View, logs []*Log, of int) (*truth, error) {
	t := &truth{
		views: views, sample: sample{seed: maphash.MakeSeed(), of: uint64(max(1, of))}, rejected: map[place]*kgo.Record{},
		times: map[partitionID][]int64{}, entities: map[string]map[string][]int32{}, others: map[string]map[uint64]bool{},
	}
	var list []stream.Version
	for _, c := range versions {
		list = append(list, stream.Version{From: c.EffectiveAt, Source: c.Source(sourceName)})
	}
	t.decoder = stream.NewDecoder(list, nil)
	for _, v := range views {
		t.entities[v.Name], t.others[v.Name] = map[string][]int32{}, map[uint64]bool{}
	}
	for _, log := range logs {
		for _, r := range log.Records {
			if err := t.add(ctx, log, r); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// add takes in the next record of a log.
func (t *truth) add(ctx context.Context, log *Log, r *kgo.Record) error {
	at := place{log.ID, r.Partition, r.Offset}
	var event featurestore.Event
	if reason := t.decode(ctx, r, &event); reason != nil {
		t.rejected[at] = r
		return nil //nolint:nilerr // that the record is rejected is what we want to know
	}
	t.accepted++
	t.noteTime(at, r.Timestamp.UnixMicro())
	index := -1
	for _, v := range t.views {
		var join []featurestore.Value
		for _, field := range v.JoinFields {
			join = append(join, event.Values[field])
		}
		key, err := v.Entity.AppendKey(nil, join)
		if err != nil {
			return fmt.Errorf("the key of partition %d, offset %d: %w", r.Partition, r.Offset, err)
		}
		hash, sampled := t.sample.has(key)
		if !sampled {
			t.others[v.Name][hash] = false
			continue
		}
		if index < 0 {
			index = t.keep(at, r)
		}
		t.entities[v.Name][string(key)] = append(t.entities[v.Name][string(key)], int32(index))
	}
	return nil
}

func (t *truth) noteTime(at place, time int64) {
	id := partitionID{at.topic, at.partition}
	times := t.times[id]
	for int64(len(times)) <= at.offset {
		times = append(times, 0)
	}
	times[at.offset] = time
	t.times[id] = times
}

// keep copies what the fold needs of a record: the record itself would keep the whole batch
// that it came in.
func (t *truth) keep(at place, r *kgo.Record) (index int) {
	kept := &kgo.Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value),
	}
	t.places, t.records = append(t.places, at), append(t.records, kept)
	return len(t.records) - 1
}

// decode decodes a record, which holds one event.
func (t *truth) decode(ctx context.Context, r *kgo.Record, event *featurestore.Event) error {
	events, err := t.decoder.Decode(ctx, r, nil)
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
func (t *truth) row(ctx context.Context, v *ingest.View, key string, below map[partitionID]int64) (e expected, err error) {
	state := v.Program.NewState()
	for _, index := range t.entities[v.Name][key] {
		at, r := t.places[index], t.records[index]
		if at.offset >= below[partitionID{at.topic, at.partition}] {
			continue
		}
		var event featurestore.Event
		if err := t.decode(ctx, r, &event); err != nil {
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
