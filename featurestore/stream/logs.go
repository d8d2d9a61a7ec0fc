package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Logs returns the id of a topic, and where the logs of all its partitions begin and end
// for a reader of committed records.
func Logs(ctx context.Context, client *kgo.Client, topic string) (featurestore.TopicID, map[int32]ingest.Offsets, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	admin := kadm.NewClient(client)
	meta, err := metadata(ctx, admin, topic)
	if err != nil {
		return featurestore.TopicID{}, nil, fmt.Errorf("asking Kafka for topic %q: %w", topic, err)
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return featurestore.TopicID{}, nil, fmt.Errorf("asking Kafka where topic %q begins: %w", topic, err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return featurestore.TopicID{}, nil, fmt.Errorf("asking Kafka where topic %q ends: %w", topic, err)
	}
	logs := map[int32]ingest.Offsets{}
	ends.Each(func(o kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, o.Partition)
		logs[o.Partition] = ingest.Offsets{Start: start.Offset, End: o.Offset}
	})
	return featurestore.TopicID(meta.ID), logs, nil
}

// metadata asks for a topic, again for a while when it is not known: one that was just
// made may not be known to every broker yet.
func metadata(ctx context.Context, admin *kadm.Client, topic string) (kadm.TopicDetail, error) {
	for tries := 0; ; tries++ {
		meta, err := admin.Metadata(ctx, topic)
		if err == nil {
			err = meta.Topics[topic].Err
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) || tries == 20 || !wait(ctx, 50*time.Millisecond) {
			return meta.Topics[topic], err
		}
	}
}
