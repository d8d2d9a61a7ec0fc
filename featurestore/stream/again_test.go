package stream

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// makeAgain deletes a topic and makes it again with more partitions.
func makeAgain(t *testing.T, client *kgo.Client, topic string, partitions int32) {
	t.Helper()
	if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if err := EnsureTopic(t.Context(), client, topic, partitions, nil); err != nil {
		t.Fatal(err)
	}
}

func fakeKafka(t *testing.T) (brokers []string, client *kgo.Client) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "ratings"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err = kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return cluster.ListenAddrs(), client
}

// TestLogsNeverMixTwoTopics asks for a topic before and right after it was made again: an
// old id with new offsets would put a watermark on the wrong events.
func TestLogsNeverMixTwoTopics(t *testing.T) {
	_, client := fakeKafka(t)
	old, _, err := Logs(t.Context(), client, "ratings")
	if err != nil {
		t.Fatal(err)
	}
	makeAgain(t, client, "ratings", 3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		id, logs, err := Logs(ctx, client, "ratings")
		if err == nil {
			if id == old || len(logs) != 3 {
				t.Fatalf("id %s (it was %s), %d partitions", id, old, len(logs))
			}
			return
		}
		if !wait(ctx, 50*time.Millisecond) {
			t.Fatal(err)
		}
	}
}

// TestATopicMadeAgainEndsTheConsumer wants an error that another consumer can mend, and not
// a consumer that waits for a topic which is no more.
func TestATopicMadeAgainEndsTheConsumer(t *testing.T) {
	brokers, client := fakeKafka(t)
	opened := make(chan struct{}, 100)
	r := &recorder{open: func() error { opened <- struct{}{}; return nil }}
	consumer, err := NewConsumer(ConsumerConfig{
		Group: "g", Options: []kgo.Opt{kgo.SeedBrokers(brokers...)}, Log: slog.New(slog.DiscardHandler),
		Topics: []Topic{{
			Name: "ratings", Source: "ratings", Versions: []Version{{Source: testSource()}},
			NewWorker: func(ingest.PartitionID) Worker { return r },
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx) }()
	<-opened
	makeAgain(t, client, "ratings", 1)
	if err := <-done; !errors.Is(err, ErrMadeAgain) {
		t.Fatalf("the consumer ended with %v", err)
	}
}

// TestLettersGoToATopicMadeAgain deletes the dead-letter topic, as people do who have read
// it: the partition must not wait for it for ever.
func TestLettersGoToATopicMadeAgain(t *testing.T) {
	_, client := fakeKafka(t)
	producer := NewProducer(client)
	rejected := []Rejection{{Record: &kgo.Record{Topic: "source", Value: []byte("x")}, Reason: errors.New("because")}}
	if err := producer.DeadLetters(t.Context(), "ratings", featurestore.TopicID{1}, rejected); err != nil {
		t.Fatal(err)
	}
	makeAgain(t, client, "ratings", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		once, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := producer.DeadLetters(once, "ratings", featurestore.TopicID{1}, rejected)
		cancel()
		if err == nil {
			return
		}
		if !wait(ctx, 50*time.Millisecond) {
			t.Fatal(err)
		}
	}
}
