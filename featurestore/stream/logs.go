package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Logs returns the id of a topic, and where the logs of all its partitions begin and end
// for a reader of committed records. The id and the offsets are of the same incarnation of
// the topic: it fails when the topic is made again meanwhile.
func Logs(ctx context.Context, client *kgo.Client, topic string) (featurestore.TopicID, map[int32]ingest.Offsets, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	before, err := metadata(ctx, client, topic)
	if err != nil {
		return featurestore.TopicID{}, nil, fmt.Errorf("asking Kafka for topic %q: %w", topic, err)
	}
	logs, err := offsets(ctx, kadm.NewClient(client), topic)
	if err != nil {
		return featurestore.TopicID{}, nil, err
	}
	after, err := metadata(ctx, client, topic)
	switch {
	case err != nil:
		return featurestore.TopicID{}, nil, fmt.Errorf("asking Kafka for topic %q: %w", topic, err)
	case before.TopicID != after.TopicID || len(logs) != len(after.Partitions):
		return featurestore.TopicID{}, nil, fmt.Errorf("topic %q has just changed: %d partitions, of %d the logs are known", topic, len(after.Partitions), len(logs))
	}
	return after.TopicID, logs, nil
}

func offsets(ctx context.Context, admin *kadm.Client, topic string) (map[int32]ingest.Offsets, error) {
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking Kafka where topic %q begins: %w", topic, err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking Kafka where topic %q ends: %w", topic, err)
	}
	logs := map[int32]ingest.Offsets{}
	ends.Each(func(o kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, o.Partition)
		logs[o.Partition] = ingest.Offsets{Start: start.Offset, End: o.Offset}
	})
	return logs, nil
}

// metadata asks for a topic, again for a while when it is not known: one that was just
// made may not be known to every broker yet. It asks the brokers themselves: what the
// client remembers may be of a topic that was deleted since.
func metadata(ctx context.Context, client *kgo.Client, topic string) (kmsg.MetadataResponseTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	for tries := 0; ; tries++ {
		resp, err := req.RequestWith(ctx, client)
		if err == nil && len(resp.Topics) != 1 {
			err = fmt.Errorf("the answer is of %d topics", len(resp.Topics))
		}
		if err != nil {
			return kmsg.MetadataResponseTopic{}, err
		}
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) || tries == 20 || !wait(ctx, 50*time.Millisecond) {
			return resp.Topics[0], err
		}
	}
}
