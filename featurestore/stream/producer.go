package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

// Producer writes records, and waits until all in-sync replicas have them. It is safe
// for concurrent use and does not own its client.
type Producer struct{ client *kgo.Client }

// NewProducer writes through a client.
func NewProducer(client *kgo.Client) *Producer { return &Producer{client: client} }

// Place is where a record was written.
type Place struct {
	Partition int32
	Offset    int64
}

// Push writes values to a topic, keyed as given (nil for no key), and returns their
// places when Kafka has them.
func (p *Producer) Push(ctx context.Context, topic string, keys, values [][]byte) ([]Place, error) {
	records := make([]*kgo.Record, len(values))
	for i := range values {
		records[i] = &kgo.Record{Topic: topic, Key: keys[i], Value: values[i]}
	}
	err := p.produce(ctx, topic, records)
	if errors.Is(err, kerr.MessageTooLarge) {
		return nil, featurestore.Errorf(featurestore.Invalid, "events: one is larger than topic %q takes (its max.message.bytes)", topic).Because(err)
	}
	if err != nil {
		return nil, featurestore.Errorf(featurestore.Unavailable, "Kafka did not take the events").Because(err)
	}
	places := make([]Place, len(records))
	for i, r := range records {
		places[i] = Place{Partition: r.Partition, Offset: r.Offset}
	}
	return places, nil
}

// produce waits until Kafka has the records. After a failure the client asks anew what the
// topic is: by itself it stays with the one that it knows, and fails for ever when that was
// deleted and made again.
func (p *Producer) produce(ctx context.Context, topic string, records []*kgo.Record) error {
	err := p.client.ProduceSync(ctx, records...).FirstErr()
	if errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) {
		p.client.PurgeTopicsFromProducing(topic)
	}
	return err
}

// DeadLetters writes rejected records to a topic as they were, with headers that say
// where they came from and why. The key is (topic id, partition, offset), so that a
// replay writes the same letters again and a reader can tell.
func (p *Producer) DeadLetters(ctx context.Context, topic string, id featurestore.TopicID, rejected []Rejection) error {
	records := make([]*kgo.Record, len(rejected))
	for i, r := range rejected {
		records[i] = deadLetter(topic, id, r)
	}
	if err := p.produce(ctx, topic, records); err != nil {
		return fmt.Errorf("writing dead letters to topic %q: %w", topic, err)
	}
	return nil
}

// The bounds of a dead letter, in bytes: whatever the record is, the letter fits a topic
// with the broker's usual limit of 1 MiB, so that no record can block its partition.
const (
	maxReason        = 1000 // of the header that says why
	maxLetterValue   = 512 << 10
	maxLetterKey     = 16 << 10
	maxLetterHeaders = 64 << 10 // of the record's own headers, together
)

func deadLetter(topic string, id featurestore.TopicID, r Rejection) *kgo.Record {
	value := r.Record.Value
	headers := []kgo.RecordHeader{
		{Key: headerTopic, Value: []byte(r.Record.Topic)},
		{Key: headerPartition, Value: []byte(strconv.Itoa(int(r.Record.Partition)))},
		{Key: headerOffset, Value: []byte(strconv.FormatInt(r.Record.Offset, 10))},
		{Key: headerTimestamp, Value: formatTime(r.Record.Timestamp)},
		{Key: headerKey, Value: r.Record.Key[:min(len(r.Record.Key), maxLetterKey)]},
		{Key: headerReason, Value: []byte(shorten(r.Reason.Error(), maxReason))},
	}
	if len(value) > maxLetterValue {
		headers = append(headers, kgo.RecordHeader{Key: headerTruncated, Value: []byte(strconv.Itoa(len(value)))})
		value = value[:maxLetterValue]
	}
	room := maxLetterHeaders
	for _, h := range r.Record.Headers {
		if room -= len(h.Key) + len(h.Value); room < 0 {
			headers = append(headers, kgo.RecordHeader{Key: headerDropped, Value: []byte("true")})
			break
		}
		headers = append(headers, h)
	}
	return &kgo.Record{
		Topic:   topic,
		Key:     fmt.Appendf(nil, "%s/%d/%d", id, r.Record.Partition, r.Record.Offset),
		Value:   value,
		Headers: headers,
	}
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// EnsureTopic makes a topic when it is not there; partitions and replicas of −1 are
// the broker's defaults.
func EnsureTopic(ctx context.Context, client *kgo.Client, topic string, partitions int32, configs map[string]string) error {
	values := map[string]*string{}
	for name, value := range configs {
		values[name] = &value
	}
	resp, err := kadm.NewClient(client).CreateTopic(ctx, partitions, -1, values, topic)
	if err == nil {
		err = resp.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("making topic %q: %w", topic, err)
	}
	return nil
}

// DeadLetterTopic names the topic of a source's dead letters.
func DeadLetterTopic(source *featurestore.Source) string { return source.Topic + ".dead" }
