package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/migrations"
)

// Stand is what one run of a fault has: a namespace, events, processes and the checker.
type Stand struct {
	world *World
	fault *Fault
	// Random decides moments and victims.
	Random *rand.Rand
	Size   Size
	Feed   *Feed
	Say    func(format string, args ...any)

	redis     string   // where the services find Redis
	brokers   []string // where the harness finds Kafka
	cluster   *cluster // of a clustered fault
	processes []*Process
	checker   *Checker
	kafka     *kgo.Client
	admin     *kadm.Client
	before    []*Log // earlier incarnations of the topic
	worst     time.Duration
	figures   map[string]float64
	// slow says what took too long, where that is no reason not to go on and check.
	slow error
	// atEnd gives back what the fault has taken for itself.
	atEnd func() error
}

// newStand connects, makes the topic and applies the definitions.
func newStand(ctx context.Context, w *World, f *Fault, size Size, seed uint64, say func(string, ...any)) (*Stand, error) {
	s := &Stand{
		world: w, fault: f, Size: size, Say: say, Random: rand.New(rand.NewPCG(seed, 8)),
		redis: "redis://" + w.Redis.Addr() + "/0", brokers: []string{w.Kafka.Addr()}, figures: map[string]float64{},
	}
	namespace := strings.ReplaceAll(f.Name, "-", "_")
	namespace = fmt.Sprintf("%s_%06x", namespace[:min(len(namespace), 20)], seed&0xffffff)
	pool, err := pgxpool.New(ctx, w.Postgres.URL())
	if err != nil {
		return nil, fmt.Errorf("the pool of Postgres connections: %w", err)
	}
	s.checker = &Checker{
		Pool: pool, Namespace: namespace, Redis: redis.NewClient(&redis.Options{Addr: w.Redis.Addr(), ContextTimeoutEnabled: true}),
	}
	if f.Clustered {
		err = s.useCluster(ctx)
	}
	if err == nil {
		err = s.prepare(ctx, seed)
	}
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// prepare applies the definitions, connects to Kafka and makes the topic.
func (s *Stand) prepare(ctx context.Context, seed uint64) (err error) {
	s.checker.Brokers = s.brokers
	if _, err := migrations.Up(ctx, s.checker.Pool); err != nil {
		return err
	}
	if s.checker.Versions, err = apply(ctx, s.checker.Pool, s.checker.Namespace, s.fault.Views); err != nil {
		return err
	}
	if s.kafka, err = kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.MetadataMinAge(100*time.Millisecond)); err != nil {
		return err
	}
	s.admin = kadm.NewClient(s.kafka)
	if s.Feed, err = newFeed(s.brokers, s.checker.Topic(), seed, s.fault.Dirt); err != nil {
		return err
	}
	return s.makeTopic(ctx)
}

func (s *Stand) makeTopic(ctx context.Context) error {
	partitions := s.fault.Partitions
	if partitions == 0 {
		partitions = 4
	}
	return stream.EnsureTopic(ctx, s.kafka, s.checker.Topic(), partitions, map[string]string{"retention.ms": "-1"})
}

// useRedis lets services and checker find Redis at another address than the shared one's.
func (s *Stand) useRedis(addr string) error {
	s.redis = "redis://" + addr + "/0"
	err := s.checker.Redis.Close()
	s.checker.Redis = redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	return err
}

// close ends the processes without ceremony, deletes the topics and disconnects.
func (s *Stand) close(ctx context.Context) error {
	for _, p := range s.processes {
		p.Kill()
	}
	var err error
	if s.admin != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		_, err = s.admin.DeleteTopics(ctx, s.checker.Topic(), stream.DeadLetterTopic(s.checker.newest().Source(sourceName)))
		s.kafka.Close()
	}
	if s.Feed != nil {
		s.Feed.Close()
	}
	s.checker.Pool.Close()
	err = errors.Join(err, s.checker.Redis.Close())
	if s.atEnd != nil {
		err = errors.Join(err, s.atEnd())
	}
	return err
}

// environment is how a service is configured.
func (s *Stand) environment() []string {
	kafka, postgres := strings.Join(s.brokers, ","), s.world.Postgres.URL()
	if s.fault.Proxied {
		kafka = s.world.proxies["kafka"].Addr()
		postgres = strings.Replace(postgres, s.world.Postgres.Addr(), s.world.proxies["postgres"].Addr(), 1)
	}
	return []string{
		"ONEHOP_NAMESPACE=" + s.checker.Namespace, "ONEHOP_KAFKA=" + kafka, "ONEHOP_REDIS=" + s.redis, "ONEHOP_POSTGRES=" + postgres,
		"ONEHOP_HEARTBEAT=500ms", "ONEHOP_SNAPSHOT=" + s.world.dir + "/" + s.checker.Namespace + ".json",
	}
}

// Ingest starts ingest. instance is the name that it keeps over its lives, empty for none.
func (s *Stand) Ingest(ctx context.Context, instance string) (*Process, error) {
	return s.spawn(ctx, "ingest", "ONEHOP_INSTANCE="+instance)
}

// IngestReady starts ingest and waits until it is ready.
func (s *Stand) IngestReady(ctx context.Context, instance string) (*Process, error) {
	p, err := s.Ingest(ctx, instance)
	if err == nil {
		err = p.Ready(ctx)
	}
	return p, err
}

// retire takes a process that has ended off the list.
func (s *Stand) retire(p *Process) {
	s.processes = slices.DeleteFunc(s.processes, func(q *Process) bool { return p == q })
}

// note keeps a figure for the summary.
func (s *Stand) note(name string, value float64) { s.figures[name] = value }

// noteWorst keeps the largest of a figure.
func (s *Stand) noteWorst(name string, value float64) { s.figures[name] = max(s.figures[name], value) }
