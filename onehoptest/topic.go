package onehoptest

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/onehop/onehop/featurestore"
)

// topicID asks Kafka for the id of a topic.
func (o *Onehop) topicID(ctx context.Context, topic string) (featurestore.TopicID, error) {
	meta, err := kadm.NewClient(o.kafka).Metadata(ctx, topic)
	if err == nil {
		err = meta.Topics[topic].Err
	}
	if err != nil {
		return featurestore.TopicID{}, fmt.Errorf("asking Kafka for topic %q: %w", topic, err)
	}
	return featurestore.TopicID(meta.Topics[topic].ID), nil
}
