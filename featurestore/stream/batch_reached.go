package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

// headerBatch is on every record of a batch source: the number of its transaction and its event time.
const headerBatch = "onehop-batch"

// Reached is how far the rows of a batch source were written: those up to an event time.
type Reached struct {
	// Time is the event time of the last row of the last transaction, in microseconds; 0 when there is none.
	Time int64
	// transaction counts the transactions of the topic. The last one says how far it got, not the
	// newest event time: to read again from a time begins a way through the rows that can be
	// interrupted, too.
	transaction int64
}

func (p Reached) header() kgo.RecordHeader {
	return kgo.RecordHeader{Key: headerBatch, Value: fmt.Appendf(nil, "%d/%d", p.transaction, p.Time)}
}

// reachedOf is what a record says; false for records that are not of a batch. A record that was put
// back from the dead letters has the headers that it had, and says nothing of now.
func reachedOf(r *kgo.Record) (p Reached, ok bool) {
	text := header(r, headerBatch)
	if text == nil || header(r, headerRetryOf) != nil {
		return p, false
	}
	_, err := fmt.Sscanf(string(text), "%d/%d", &p.transaction, &p.Time)
	return p, err == nil
}

// after says whether p is further than other.
func (p Reached) after(other Reached) bool {
	if p.transaction != other.transaction {
		return p.transaction > other.transaction
	}
	return p.Time > other.Time
}

// reachedTail is how many offsets at the end of a partition are looked at first. It is more each
// time when the last of them are no rows that were committed.
const reachedTail = 64

// ReadReached reads how far the rows of a topic were written. A topic that is not there has none.
// The last row of the last transaction is the last row of its partition.
func ReadReached(ctx context.Context, client *kgo.Client, topic string, options []kgo.Opt) (Reached, error) {
	var last Reached
	_, logs, err := Logs(ctx, client, topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return last, nil
	}
	if err != nil {
		return last, err
	}
	tail := int64(reachedTail)
	for len(logs) > 0 {
		spans := map[int32]span{}
		for partition, log := range logs {
			if spans[partition] = (span{max(log.Start, log.End-tail), log.End}); log.Start == log.End {
				delete(logs, partition)
			}
		}
		err := scan(ctx, topic, options, spans, func(r *kgo.Record) error {
			if p, ok := reachedOf(r); ok {
				delete(logs, r.Partition)
				if p.after(last) {
					last = p
				}
			}
			return nil
		})
		if err != nil {
			return last, fmt.Errorf("reading how far topic %q was written: %w", topic, err)
		}
		for partition, log := range logs {
			if spans[partition].from == log.Start {
				delete(logs, partition) // there are no rows
			}
		}
		tail *= 16
	}
	return last, nil
}

// keepTopic makes the topic of a batch source, or sees to it that it keeps its records: views are
// filled from its start, and it says how far the rows were written.
func keepTopic(ctx context.Context, client *kgo.Client, topic string, partitions int32) error {
	keep := map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
	first := maps.Clone(keep)
	first["max.message.bytes"] = strconv.Itoa(2 * featurestore.MaxEventBytes)
	if err := EnsureTopic(ctx, client, topic, partitions, first); err != nil {
		return err
	}
	admin := kadm.NewClient(client)
	configs, err := topicConfigs(ctx, admin, topic)
	if err != nil {
		return fmt.Errorf("asking Kafka what topic %q keeps: %w", topic, err)
	}
	var changes []kadm.AlterConfig
	for _, config := range configs {
		if value, ours := keep[config.Key]; ours && config.MaybeValue() != value {
			changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: config.Key, Value: &value})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	answers, err := admin.AlterTopicConfigs(ctx, changes, topic)
	if err == nil && len(answers) == 1 {
		err = answers[0].Err
	}
	if err != nil {
		return fmt.Errorf("making topic %q keep its records (retention.ms=-1, retention.bytes=-1, cleanup.policy=delete): %w", topic, err)
	}
	return nil
}

// topicConfigs asks how a topic is configured, again for a while when it is not known: one that
// was just made may not be known to every broker yet.
func topicConfigs(ctx context.Context, admin *kadm.Client, topic string) ([]kadm.Config, error) {
	for tries := 0; ; tries++ {
		configs, err := admin.DescribeTopicConfigs(ctx, topic)
		if err == nil && len(configs) != 1 {
			err = fmt.Errorf("the answer is of %d topics", len(configs))
		}
		if err != nil {
			return nil, err
		}
		err = configs[0].Err
		if !errors.Is(err, kerr.UnknownTopicOrPartition) || tries == 100 || !wait(ctx, 50*time.Millisecond) {
			return configs[0].Configs, err
		}
	}
}
