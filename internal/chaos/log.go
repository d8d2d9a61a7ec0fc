package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
)

// Log is all that one incarnation of a topic holds for a reader of committed records.
type Log struct {
	ID      featurestore.TopicID
	Offsets map[int32]ingest.Offsets
	Records []*kgo.Record
}

// ReadLog reads a whole topic, up to where it ends at the call.
func ReadLog(ctx context.Context, brokers []string, topic string) (*Log, error) {
	return readLog(ctx, brokers, topic, func(log *Log, r *kgo.Record) error {
		log.Records = append(log.Records, r)
		return nil
	})
}

// readLog gives each record of a topic to take, which decides what to keep of it.
func readLog(ctx context.Context, brokers []string, topic string, take func(*Log, *kgo.Record) error) (*Log, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("the Kafka client: %w", err)
	}
	defer client.Close()
	log := &Log{}
	if log.ID, log.Offsets, err = stream.Logs(ctx, client, topic); err != nil {
		return nil, err
	}
	starts, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for partition, o := range log.Offsets {
		if o.Start < o.End {
			starts[partition], left[partition] = kgo.NewOffset().At(o.Start), o.End
		}
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			return nil, fmt.Errorf("reading topic %q: %w", topic, err)
		}
		var err error
		fetches.EachRecord(func(r *kgo.Record) {
			end := log.Offsets[r.Partition].End
			if r.Offset < end && !r.Attrs.IsControl() {
				err = errors.Join(err, take(log, r))
			}
			if r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return log, nil
}
