package stream

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/onehop/onehop/featurestore/ingest"
)

// TestNoPartitionWaitsForAHint lets the coordinator keep the answer to a commit of offsets to
// itself, as it does while the group rebalances: records go on all the same.
func TestNoPartitionWaitsForAHint(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "ratings"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	held, release := make(chan struct{}, 1), make(chan struct{})
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case held <- struct{}{}:
		default:
		}
		cluster.SleepControl(func() { <-release })
		return nil, nil, false
	})
	r := &recorder{all: make(chan struct{}), want: 20}
	consumer, err := NewConsumer(ConsumerConfig{
		Group: "g", Options: []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}, Heartbeat: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Topics: []Topic{{
			Name: "ratings", Source: "ratings", Versions: []Version{{Source: testSource()}},
			NewWorker: func(ingest.PartitionID) Worker { return r },
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx) }()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("ratings"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produce := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			value := fmt.Sprintf(`{"user":"u","n":%d,"at":%d}`, i, time.Now().UnixMilli())
			if err := client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce(0, 10)
	select {
	case <-held:
	case <-ctx.Done():
		t.Fatal("no offsets are committed")
	}
	produce(10, 20)
	select {
	case <-r.all:
	case <-time.After(5 * time.Second):
		t.Error("a partition stands still while offsets are being committed")
	}
	close(release)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
