package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Tombstone writes a record without a value, by which a source that takes tombstones forgets
// the entity of the key, and answers when Kafka has it.
func (p *Producer) Tombstone(ctx context.Context, topic string, key []byte) (Place, error) {
	r := &kgo.Record{Topic: topic, Key: key}
	if err := p.produce(ctx, topic, []*kgo.Record{r}); err != nil {
		return Place{}, fmt.Errorf("writing a tombstone to topic %q: %w", topic, err)
	}
	return Place{Partition: r.Partition, Offset: r.Offset}, nil
}

// Keeps is how long Kafka keeps a record of a topic at most, by the topic's settings: its
// retention, and the time after which the file that the record is in is closed. Without ends
// it keeps records for ever, or until a later one has the same key.
func Keeps(ctx context.Context, client *kgo.Client, topic string) (most time.Duration, ends bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	resources, err := kadm.NewClient(client).DescribeTopicConfigs(ctx, topic)
	var found kadm.ResourceConfig
	if err == nil {
		found, err = resources.On(topic, nil)
	}
	if err == nil {
		err = found.Err
	}
	if err != nil {
		return 0, false, fmt.Errorf("asking Kafka how long it keeps topic %q: %w", topic, err)
	}
	values := map[string]string{}
	for _, c := range found.Configs {
		values[c.Key] = c.MaybeValue()
	}
	if !slices.Contains(strings.Split(values["cleanup.policy"], ","), "delete") {
		return 0, false, nil
	}
	for _, name := range []string{"retention.ms", "segment.ms"} {
		ms, err := strconv.ParseInt(values[name], 10, 64)
		if err != nil {
			return 0, false, fmt.Errorf("asking Kafka how long it keeps topic %q: %s is %q", topic, name, values[name])
		}
		if ms < 0 || ms > int64(100*365*24*time.Hour/time.Millisecond) {
			return 0, false, nil
		}
		most += time.Duration(ms) * time.Millisecond
	}
	return most, true, nil
}
