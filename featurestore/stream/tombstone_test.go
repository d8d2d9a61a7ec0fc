package stream_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/testenv"
)

// TestKeeps: how long Kafka keeps a record is its topic's retention and the time for which a
// file is written to.
func TestKeeps(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers(testenv.Kafka(t)...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for name, c := range map[string]struct {
		configs map[string]string
		want    time.Duration
	}{
		"days":    {map[string]string{"retention.ms": "172800000", "segment.ms": "3600000"}, 49 * time.Hour},
		"both":    {map[string]string{"retention.ms": "172800000", "segment.ms": "3600000", "cleanup.policy": "compact,delete"}, 49 * time.Hour},
		"ever":    {map[string]string{"retention.ms": "-1"}, 0},
		"compact": {map[string]string{"retention.ms": "172800000", "cleanup.policy": "compact"}, 0},
	} {
		topic := testenv.Namespace(t) + "." + name
		if err := stream.EnsureTopic(t.Context(), client, topic, 1, c.configs); err != nil {
			t.Fatal(err)
		}
		if _, _, err := stream.Logs(t.Context(), client, topic); err != nil { // waits until brokers know it
			t.Fatal(err)
		}
		most, ends, err := stream.Keeps(t.Context(), client, topic)
		if err != nil || ends != (c.want > 0) || most != c.want {
			t.Errorf("%s: %s, %v, %v", name, most, ends, err)
		}
	}
	if _, _, err := stream.Keeps(t.Context(), client, testenv.Namespace(t)+".none"); err == nil {
		t.Error("a topic that is not there")
	}
}
