package generate_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/internal/generate"
)

func TestToFileWritesALinePerEvent(t *testing.T) {
	var file bytes.Buffer
	var progress []int
	options := generate.Options{Seed: 3, Malformed: 0.1}
	err := generate.ToFile(t.Context(), &file, generate.New(options), 1500, func(done int) { progress = append(progress, done) })
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(file.String(), "\n"), "\n")
	if len(lines) != 1500 || !slices.Equal(progress, []int{0, 1000, 1500}) {
		t.Fatalf("%d lines, progress %v", len(lines), progress)
	}
	for i, event := range take(options, 1500) {
		if lines[i] != string(event.AppendJSON(nil)) {
			t.Fatalf("line %d is %s", i, lines[i])
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestToFileStops(t *testing.T) {
	err := generate.ToFile(t.Context(), fullDisk{}, generate.New(generate.Options{}), 10_000, nil)
	if err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error %v, want the writer's", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := generate.ToFile(ended, &bytes.Buffer{}, generate.New(generate.Options{}), 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}

func newClient(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "ratings"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(cluster.ListenAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestToKafka(t *testing.T) {
	client := newClient(t, kgo.ConsumeTopics("ratings"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	options := generate.Options{Seed: 4, Users: 20}
	acknowledged, err := generate.ToKafka(t.Context(), client, generate.New(options), generate.KafkaOptions{Topic: "ratings", Count: 500})
	if err != nil || acknowledged != 500 {
		t.Fatalf("ToKafka = %d, %v", acknowledged, err)
	}
	var records []*kgo.Record
	partitions := map[string]int32{}
	for len(records) < 500 {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		return bytes.Compare(a.Value[bytes.LastIndexByte(a.Value, ':'):], b.Value[bytes.LastIndexByte(b.Value, ':'):])
	})
	for i, event := range take(options, 500) {
		record, key := records[i], string(records[i].Key)
		if string(record.Value) != string(event.AppendJSON(nil)) || key != strconv.FormatInt(event.UserID, 10) ||
			record.Timestamp.UnixMilli() != event.Arrival/1000 {
			t.Fatalf("record %d: %s at %v, want %+v", i, record.Value, record.Timestamp, event)
		}
		if partition, seen := partitions[key]; seen && partition != record.Partition {
			t.Fatalf("user %s in partitions %d and %d", key, partition, record.Partition)
		}
		partitions[key] = record.Partition
	}
}

func TestToKafkaReportsTheFirstError(t *testing.T) {
	client := newClient(t, kgo.UnknownTopicRetries(0))
	_, err := generate.ToKafka(t.Context(), client, generate.New(generate.Options{}), generate.KafkaOptions{Topic: "nowhere"})
	if err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("error %v, want Kafka's, naming the topic", err)
	}
}

func TestToKafkaWithoutCountRunsUntilTheContextEnds(t *testing.T) {
	client := newClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	acknowledged, err := generate.ToKafka(ctx, client, generate.New(generate.Options{}), generate.KafkaOptions{
		Topic: "ratings",
		Progress: func(done int) {
			if done == 3000 {
				cancel()
			}
		},
	})
	if err != nil || acknowledged > 3001 {
		t.Errorf("ToKafka = %d, %v; want no error", acknowledged, err)
	}
}

func noNetwork(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no network")
}

func TestToKafkaKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// No broker: Produce only buffers, and only the pace matters.
		client, err := kgo.NewClient(kgo.Dialer(noNetwork), kgo.MaxBufferedRecords(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		sent := 0
		_, err = generate.ToKafka(ctx, client, generate.New(generate.Options{}), generate.KafkaOptions{
			Topic: "ratings", Rate: 500, Progress: func(done int) { sent = done },
		})
		if err != nil || sent < 4990 || sent > 5010 {
			t.Errorf("%d sent in ten seconds, %v; want 5000", sent, err)
		}
	})
}
