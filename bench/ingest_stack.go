package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/app/ingest"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/internal/generate"
	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/migrations"
)

const ingestPartitions = 4

// The consumer groups.
const onlineGroup, historyGroup = "online", "history"

const ingestDefinitions = `
namespace: bench
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
  - {name: movie, keys: [{name: movie_id, type: int64}]}
sources:
  - name: ratings
    format: json
    event_time: {field: event_time, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: movie_id, type: int64, required: true}
      - {name: rating, type: float64, required: true}
views:
  - name: user_ratings
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h, 1d, 7d]}
      - {name: mean, aggregate: mean, field: rating, windows: [1h, 1d, 7d]}
  - name: movie_ratings
    entity: movie
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h, 1d, 7d]}
      - {name: mean, aggregate: mean, field: rating, windows: [1h, 1d, 7d]}
`

// ingestStack is everything that [Ingest] measures.
type ingestStack struct {
	closers     []func()
	brokers     []string
	kafkaKind   string
	redisURL    string
	postgresURL string
	kafka       *kgo.Client
	redis       redis.UniversalClient
	store       *online.Store
	pool        *pgxpool.Pool
	catalog     *featurestore.Catalog
	topicID     featurestore.TopicID
	ends        map[int32]int64
	cancel      context.CancelFunc
	done        chan error
	admin       string // the service's address
	table       *history.Table
	// conflicts and commits count what the last run of the service did in Redis.
	conflicts, commits int64
}

func (s *ingestStack) stop() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

func (s *ingestStack) onStop(f func()) { s.closers = append(s.closers, f) }

func startIngest(ctx context.Context) (_ *ingestStack, err error) {
	s := &ingestStack{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if err := s.servers(ctx); err != nil {
		return nil, err
	}
	if s.kafka, err = kgo.NewClient(kgo.SeedBrokers(s.brokers...)); err != nil {
		return nil, err
	}
	s.onStop(s.kafka.Close)
	if s.redis, err = online.Connect(ctx, s.redisURL); err != nil {
		return nil, err
	}
	s.onStop(func() { _ = s.redis.Close() })
	if s.store, err = online.Open(ctx, s.redis); err != nil {
		return nil, err
	}
	if s.pool, err = app.OpenPool(ctx, s.postgresURL, nil); err != nil {
		return nil, err
	}
	s.onStop(s.pool.Close)
	if _, err := migrations.Up(ctx, s.pool); err != nil {
		return nil, err
	}
	s.catalog, err = s.apply(ctx, "bench")
	return s, err
}

// apply applies the definitions to a namespace.
func (s *ingestStack) apply(ctx context.Context, namespace string) (*featurestore.Catalog, error) {
	catalog, err := definition.Options{Namespace: namespace}.Parse([]definition.File{{Name: "bench.yaml", Text: []byte(ingestDefinitions)}})
	if err != nil {
		return nil, err
	}
	return registry.New(s.pool, namespace).Apply(ctx, catalog, time.Now().Add(-time.Minute))
}

// inNamespace is the same servers with another namespace.
func (s *ingestStack) inNamespace(ctx context.Context, namespace string) (*ingestStack, error) {
	catalog, err := s.apply(ctx, namespace)
	if err != nil {
		return nil, err
	}
	other := *s
	other.catalog, other.closers, other.table = catalog, nil, nil
	return &other, nil
}

// servers starts real servers; Kafka falls back to a broker in this process where there
// is no JDK.
func (s *ingestStack) servers(ctx context.Context) error {
	k, err := servers.Kafka(ctx, servers.Options{})
	switch {
	case err == nil:
		s.brokers, s.kafkaKind = []string{k.Addr()}, "Apache Kafka "+k.Version()
		s.onStop(func() { _ = k.Stop() })
	case errors.Is(err, servers.ErrNotInstalled):
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			return fmt.Errorf("starting kfake: %w", err)
		}
		s.brokers, s.kafkaKind = cluster.ListenAddrs(), "kfake, in this process"
		s.onStop(cluster.Close)
	default:
		return err
	}
	r, err := servers.Redis(ctx, servers.Options{})
	if err != nil {
		return err
	}
	s.onStop(func() { _ = r.Stop() })
	p, err := servers.Postgres(ctx, servers.Options{})
	if err != nil {
		return err
	}
	s.onStop(func() { _ = p.Stop() })
	s.redisURL, s.postgresURL = r.URL(), p.URL()
	return nil
}

// produce fills the topic and notes where it ends.
func (s *ingestStack) produce(ctx context.Context, o IngestOptions, _ *IngestResult) error {
	topic, err := s.topic(ctx)
	if err != nil {
		return err
	}
	if _, err := generate.ToKafka(ctx, s.kafka, aDay(o.Events), generate.KafkaOptions{Topic: topic, Count: o.Events}); err != nil {
		return err
	}
	return s.noteEnds(ctx, topic)
}

// aDay makes the events of a day that ends about now.
func aDay(events int) *generate.Generator {
	const day = 24 * time.Hour
	return generate.New(generate.Options{
		Seed: 1, Users: 20_000, Items: 5_000, Rate: float64(events) / day.Seconds(), Start: time.Now().Add(-day - time.Hour), Late: .02, Duplicate: .01,
	})
}

// topic makes the topic of the definitions.
func (s *ingestStack) topic(ctx context.Context) (string, error) {
	topic := s.catalog.Sources[0].Topic
	return topic, stream.EnsureTopic(ctx, s.kafka, topic, ingestPartitions, map[string]string{"retention.ms": "-1"})
}

// produceSpread fills the topic with the same events, but keys say nothing, so that every row
// is written from every partition; and with every > 0 one in so many is of user 1 and movie 1.
func (s *ingestStack) produceSpread(ctx context.Context, events, every int) error {
	topic, err := s.topic(ctx)
	if err != nil {
		return err
	}
	g := aDay(events)
	for i := range events {
		e := g.Next()
		if every > 0 && i%every == 0 {
			e.UserID, e.ItemID = 1, 1
		}
		s.kafka.Produce(ctx, &kgo.Record{
			Topic: topic, Key: strconv.AppendInt(nil, int64(i), 10), Value: e.AppendJSON(make([]byte, 0, 96)), Timestamp: time.UnixMicro(e.Arrival),
		}, nil)
	}
	if err := s.kafka.Flush(ctx); err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	return s.noteEnds(ctx, topic)
}

func (s *ingestStack) noteEnds(ctx context.Context, topic string) error {
	admin := kadm.NewClient(s.kafka)
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("asking Kafka where the topic ends: %w", err)
	}
	meta, err := admin.Metadata(ctx, topic)
	if err != nil {
		return fmt.Errorf("asking Kafka for the topic: %w", err)
	}
	s.topicID, s.ends = featurestore.TopicID(meta.Topics[topic].ID), map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { s.ends[o.Partition] = o.Offset })
	return nil
}

// startService starts the ingest service and returns when it listens.
func (s *ingestStack) startService(ctx context.Context, groups []string) error {
	ctx, s.cancel = context.WithCancel(ctx)
	s.done = make(chan error, 1)
	started := make(chan string, 1)
	go func() {
		s.done <- ingest.Run(ctx, ingest.Config{
			Common: config.Common{
				Namespace: s.catalog.Namespace, Redis: s.redisURL, Postgres: s.postgresURL, AdminListen: "127.0.0.1:0",
				StartupTimeout: 30 * time.Second, DrainTimeout: 5 * time.Second, LogLevel: "warn",
			},
			Kafka: config.Kafka{Kafka: s.brokers}, MemoryMB: 1024, Groups: groups, Heartbeat: 3 * time.Second, MaxRecords: 50_000,
			Partitions: ingestPartitions, Log: io.Discard, Started: func(admin string) { started <- admin },
		})
	}()
	s.onStop(func() { _ = s.stopService() })
	select {
	case s.admin = <-started:
		return nil
	case err := <-s.done:
		s.done <- err
		return fmt.Errorf("the ingest service: %w", err)
	}
}

func (s *ingestStack) stopService() error {
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	s.cancel = nil
	return <-s.done
}
