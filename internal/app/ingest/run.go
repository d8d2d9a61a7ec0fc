// Package ingest is the service that follows Kafka: it folds events into rows in Redis
// and copies them to history in Postgres, by two consumer groups, so that a slow
// Postgres never delays fresh features.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kotel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	protocol "github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/config"
)

// Config configures the service.
type Config struct {
	config.Common         `embed:""`
	config.Kafka          `embed:""`
	config.SchemaRegistry `embed:""`

	MemoryMB   int           `env:"ONEHOP_MEMORY_MB" default:"1024" name:"memory-mb" help:"Memory that this process may use, in MiB; a quarter of it holds hot rows. What does not fit stays in Kafka."`
	Groups     []string      `env:"ONEHOP_GROUPS" default:"online,history" enum:"online,history" help:"What this process does: online folds events into Redis, history copies them to Postgres. Each can run in processes of its own."`
	Heartbeat  time.Duration `env:"ONEHOP_HEARTBEAT" default:"3s" help:"How often the watermarks of idle buckets are moved."`
	MaxRecords int           `env:"ONEHOP_MAX_RECORDS" default:"50000" help:"Most records in one batch of a partition."`
	Instance   string        `env:"ONEHOP_INSTANCE" placeholder:"NAME" help:"A name that this process keeps over restarts, unique among the processes of the namespace: it then takes its partitions up again at once instead of waiting for the session of its former life to end."`
	Partitions int32         `env:"ONEHOP_PARTITIONS" default:"4" help:"Partitions of topics that are not there yet and are made."`

	// Log takes the log; Started is told the admin address. Both are for programs that
	// run the service within themselves.
	Log     io.Writer          `kong:"-"`
	Started func(admin string) `kong:"-"`
}

// minMemoryMB is the least memory with which the service works.
const minMemoryMB = 64

// MemoryLimit is the soft limit for the Go runtime that keeps the process within its
// memory: a tenth is left for what the runtime does not count.
func (c *Config) MemoryLimit() int64 { return int64(c.MemoryMB) << 20 / 10 * 9 }

// cacheBytes is the memory for hot rows.
func (c *Config) cacheBytes() int { return c.MemoryMB << 20 / 4 }

// recordBytes is the memory for the records of one consumer group. The groups have half of
// it together; what is left is garbage that is not collected yet.
func (c *Config) recordBytes() int { return c.MemoryMB << 20 / 2 / len(c.Groups) }

// Check returns everything that is wrong with the configuration.
func (c *Config) Check() error {
	var problems []error
	if c.MemoryMB < minMemoryMB || c.MemoryMB > 1<<20 {
		problems = append(problems, fmt.Errorf("--memory-mb: %d must be between %d and %d", c.MemoryMB, minMemoryMB, 1<<20))
	}
	if len(c.Groups) == 0 {
		problems = append(problems, errors.New("--groups: name online, history or both"))
	}
	if c.MaxRecords < 1 {
		problems = append(problems, fmt.Errorf("--max-records: %d must be at least 1", c.MaxRecords))
	}
	return errors.Join(append(problems, c.Common.Check(), c.Kafka.Check(), c.SchemaRegistry.Check())...)
}

// The consumer groups.
const onlineGroup, historyGroup = "online", "history"

// service is the running service.
type service struct {
	*app.Base
	config  Config
	kafka   *kgo.Client // produces dead letters and makes topics
	options []kgo.Opt
	schemas *stream.Schemas // nil without a schema registry
	metrics *metrics
}

// Run runs the service until the context ends; it then finishes what it has begun.
func Run(ctx context.Context, c Config) error {
	base, err := app.Start(ctx, "ingest", c.Common, c.Log)
	if err != nil {
		return err
	}
	s := &service{Base: base, config: c, metrics: newMetrics(base.Metrics)}
	s.options = []kgo.Opt{kgo.SeedBrokers(c.Kafka.Kafka...), kgo.ClientID("onehop-ingest")}
	if base.Tracing {
		tracer := kotel.NewTracer(kotel.TracerProvider(base.Tracer), kotel.TracerPropagator(propagation.TraceContext{}))
		s.options = append(s.options, kgo.WithHooks(kotel.NewKotel(kotel.WithTracer(tracer)).Hooks()...))
	}
	s.kafka, err = kgo.NewClient(append(s.options, kgo.ProducerBatchMaxBytes(2<<20), kgo.RecordDeliveryTimeout(30*time.Second))...)
	if err == nil {
		err = s.pingKafka(ctx)
		defer s.kafka.Close()
	}
	if err == nil && c.SchemaRegistry.SchemaRegistry != "" {
		user, password := c.Credentials()
		if s.schemas, err = stream.NewSchemas(c.SchemaRegistry.SchemaRegistry, user, password); err == nil {
			defer s.schemas.Close()
		}
	}
	if err == nil {
		err = base.Serve(ctx, c.Started, s.follow)
	}
	return errors.Join(err, base.Close(ctx))
}

func (s *service) pingKafka(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.StartupTimeout)
	defer cancel()
	if err := s.kafka.Ping(ctx); err != nil {
		return fmt.Errorf("no answer from Kafka at %v: start it, or set --kafka (ONEHOP_KAFKA): %w", s.config.Kafka.Kafka, err)
	}
	return nil
}

// follow runs the consumers for the newest definitions, and again whenever there are
// newer ones. Every event is processed by the versions in force at its record's
// timestamp, whichever set of consumers meets it.
func (s *service) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		versions, changed := s.Follower.Versions()
		if len(versions) == 0 {
			s.Health.NotReady("no definitions are applied to namespace " + s.Common.Namespace + ": run onehop apply")
			wait(ctx, changed, 0)
			continue
		}
		err := s.consume(ctx, versions, changed)
		switch {
		case errors.Is(err, protocol.ErrGone):
			return err
		case err != nil && ctx.Err() == nil:
			s.Health.NotReady(err.Error())
			s.Log.Error("cannot follow the topics; trying again", "error", err)
			wait(ctx, changed, 2*time.Second)
		}
	}
	return nil
}

// consume runs the consumer groups until the context ends, the definitions change, or
// a generation that was kept beside a new one is no longer needed.
func (s *service) consume(ctx context.Context, versions []*featurestore.Catalog, changed <-chan struct{}) error {
	plan, err := s.plan(ctx, versions)
	if err != nil {
		return err
	}
	consumers := map[string]*stream.Consumer{}
	for name, topics := range map[string][]stream.Topic{onlineGroup: plan.online, historyGroup: plan.history} {
		if !slices.Contains(s.config.Groups, name) {
			continue
		}
		consumer, err := stream.NewConsumer(s.consumer(name, topics))
		if err != nil {
			for _, made := range consumers {
				made.Close()
			}
			return err
		}
		consumers[name] = consumer
		for _, topic := range topics {
			s.metrics.follow(name, topic.Source)
		}
	}
	s.metrics.keep(plan.views)
	s.metrics.owned.follow(consumers)
	defer s.metrics.owned.follow(nil)
	s.Health.Ready()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, consumer := range consumers {
		group.Go(func() error { return consumer.Run(ctx) })
	}
	group.Go(func() error {
		s.index(ctx, plan.tables)
		return nil
	})
	group.Go(func() error {
		s.retain(ctx, plan.tables, time.Minute, time.Hour)
		return nil
	})
	group.Go(func() error {
		defer cancel()
		for !wait(ctx, changed, 10*time.Second) {
			newest := versions[len(versions)-1]
			if plan.keepsOld && s.allLive(ctx, newest) || s.backfilled(ctx, newest, plan.gone) {
				return nil
			}
		}
		return nil
	})
	return group.Wait()
}

// index makes the indexes of months that were filled while history was far behind.
func (s *service) index(ctx context.Context, tables []*lazyTable) {
	pause := indexPause
	for !wait(ctx, nil, pause) {
		pause = indexPause
		for _, table := range tables {
			if err := table.index(ctx); err != nil && ctx.Err() == nil {
				s.Log.Warn("history is not indexed yet; trying again", "source", table.source.Name, "error", err)
				pause = 20 * indexPause
			}
		}
	}
}

// indexPause is how often to look whether history needs indexes.
const indexPause = 100 * time.Millisecond

// wait waits for the end of the context or for the channel, and says whether one of
// them came; with a limit it gives up after that. 0 is no limit.
func wait(ctx context.Context, c <-chan struct{}, limit time.Duration) bool {
	var timeout <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
		return true
	case <-c:
		return true
	case <-timeout:
		return false
	}
}

func (s *service) consumer(group string, topics []stream.Topic) stream.ConsumerConfig {
	options := slices.Clone(s.options)
	if s.config.Instance != "" {
		options = append(options, kgo.InstanceID(s.config.Instance))
	}
	var tracer trace.Tracer
	if s.Tracing {
		tracer = s.Tracer.Tracer("onehop/ingest")
	}
	return stream.ConsumerConfig{
		Tracer:     tracer,
		Group:      "onehop." + s.Common.Namespace + "." + group,
		Topics:     topics,
		Schemas:    s.schemas,
		Options:    options,
		MaxRecords: s.config.MaxRecords,
		Memory:     s.config.recordBytes(),
		Heartbeat:  s.config.Heartbeat,
		Log:        s.Log,
		Observe:    s.metrics.observer(group),
		Assigned:   func(took time.Duration) { s.metrics.rebalance.WithLabelValues(group).Observe(took.Seconds()) },
	}
}
