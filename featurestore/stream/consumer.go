package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Worker follows one partition for a consumer group. Calls never overlap. After any
// error the worker is opened again, with a growing pause, and records are read again
// from where Open says; ingest.ErrGone stops the whole consumer.
type Worker interface {
	// Open says from which offset to read, given the logs of all partitions of the
	// topic.
	Open(ctx context.Context, logs map[int32]ingest.Offsets) (int64, error)
	// Process takes a batch. When it returns, the batch's effects are safe.
	Process(ctx context.Context, batch Batch) error
	// Heartbeat is called every few seconds between batches.
	Heartbeat(ctx context.Context) error
}

// Batch is a run of decoded records.
type Batch struct {
	ingest.Batch
	// Rejected are the records that could not be accepted, in order of offset.
	Rejected []Rejection
	// Behind is how many records of the partition are known to be after the batch.
	Behind int64
	// Newest is the newest timestamp of the accepted records, in microseconds; 0 if there
	// are none.
	Newest int64
}

// Rejection is a record that was not accepted, and why.
type Rejection struct {
	Record *kgo.Record
	Reason error
}

// Topic is a topic to follow and how to read it.
type Topic struct {
	Name     string
	Source   string
	Versions []Version
	// NewWorker makes the worker of a partition when it is assigned.
	NewWorker func(id ingest.PartitionID) Worker
}

// ConsumerConfig configures a [Consumer].
type ConsumerConfig struct {
	// Group is the consumer group.
	Group  string
	Topics []Topic
	// Options of the client: brokers, TLS, SASL, hooks.
	Options []kgo.Opt
	// Schemas reads the schemas of records that need a schema registry; may be nil.
	Schemas *Schemas
	// MaxRecords bounds a batch of one partition; 0 means 50,000.
	MaxRecords int
	// Memory is about how many bytes records and what is made of them may take, for each
	// broker that has partitions of ours; 0 means 128 MiB.
	Memory int
	// Heartbeat is the pause between heartbeats; 0 means 3 s.
	Heartbeat time.Duration
	Log       *slog.Logger
	// Tracer, when set, makes a span of every batch, linked to the spans that produced
	// its first records.
	Tracer trace.Tracer
	// Observe, when set, is told of every batch processed.
	Observe func(source string, batch *Batch, took time.Duration)
	// Assigned, when set, is told, by several goroutines at once, of every partition that was assigned and is open now, and
	// how long that took.
	Assigned func(took time.Duration)
}

// Consumer follows topics as a member of a consumer group.
type Consumer struct {
	config ConsumerConfig
	client *kgo.Client
	made   chan struct{} // closed when client is set: the group may call before
	topics map[string]*Topic
	log    *slog.Logger
	parts  partitions
	// hinting is held while offsets are being committed.
	hinting sync.Mutex

	progress progresses
}

// NewConsumer makes a consumer. Run starts it and closes its client.
func NewConsumer(config ConsumerConfig) (*Consumer, error) {
	if config.MaxRecords == 0 {
		config.MaxRecords = 50_000
	}
	if config.Heartbeat == 0 {
		config.Heartbeat = 3 * time.Second
	}
	if config.Memory == 0 {
		config.Memory = 128 << 20
	}
	config.MaxRecords = min(config.MaxRecords, recordsWithin(config.Memory))
	fetch := fetchWithin(config.Memory)
	c := &Consumer{config: config, made: make(chan struct{}), topics: map[string]*Topic{}, log: config.Log.With("group", config.Group)}
	c.parts.init()
	c.progress.init(config.Heartbeat)
	var names []string
	for i := range config.Topics {
		c.topics[config.Topics[i].Name] = &config.Topics[i]
		names = append(names, config.Topics[i].Name)
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.ConsumerGroup(config.Group),
		kgo.ConsumeTopics(names...),
		// Where to read from is the worker's to say; a log that no longer has it is an
		// error, never a reason to go on elsewhere.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.AdjustFetchOffsetsFn(c.assigned),
		kgo.OnPartitionsRevoked(c.revoked),
		kgo.OnPartitionsLost(c.revoked),
		kgo.BlockRebalanceOnPoll(),
		// A process that dies is noticed after this; the protocol keeps rivals harmless, so
		// it can be short.
		kgo.SessionTimeout(10 * time.Second),
		// Members learn of a rebalance by their heartbeat, and partitions that move wait for all
		// of them, twice.
		kgo.HeartbeatInterval(time.Second),
		// New partitions are seen after this at the latest, and after an error the client may
		// ask anew so soon: a broker that is back should not wait for us.
		kgo.MetadataMaxAge(10 * time.Second),
		kgo.MetadataMinAge(500 * time.Millisecond),
		kgo.RetryBackoffFn(retryPause),
		kgo.DisableAutoCommit(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Control records move the position to the end of a transaction.
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(fetch),
		kgo.FetchMaxPartitionBytes(min(fetch, 2<<20)),
	}, config.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("the Kafka client: %w", err)
	}
	c.client = client
	close(c.made)
	return c, nil
}

// retryPause is the pause after so many failures in a row: it doubles up to a second. The
// client's own would double up to five, and a broker that is back would wait for us.
func retryPause(fails int) time.Duration {
	longest := min(time.Second, 50*time.Millisecond<<min(max(fails, 1)-1, 5))
	return longest/2 + rand.N(longest/2)
}

// Close leaves the group and closes the client of a consumer that was never run.
func (c *Consumer) Close() { c.client.CloseAllowingRebalance() }

// ErrMadeAgain means that a topic was deleted and made again. Another Consumer follows the
// new one from its start.
var ErrMadeAgain = errors.New("the topic was deleted and made again")

// Run follows the topics until the context ends, and then commits offsets and leaves
// the group. It returns nil when the context ended, and an error when going on would
// lose events or, [ErrMadeAgain], is not possible with this Consumer.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.client.CloseAllowingRebalance()
	hints, stop := context.WithCancel(ctx)
	defer c.hinting.Lock() // when the last commit has ended
	defer stop()
	watching, unwatch := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { c.watchEnds(watching) })
	defer watcher.Wait()
	defer unwatch()
	beat := time.Now()
	for ctx.Err() == nil {
		fetches := c.poll(ctx, beat.Add(c.config.Heartbeat))
		err := c.fetchErrors(fetches)
		if err == nil {
			err = c.process(ctx, fetches)
		}
		if err == nil && time.Since(beat) >= c.config.Heartbeat {
			err = c.heartbeat(ctx)
			c.hint(hints)
			beat = time.Now()
		}
		if err == nil {
			err = c.reopen(ctx)
		}
		c.client.AllowRebalance()
		if err = errors.Join(err, c.parts.fatal()); err != nil {
			return err
		}
	}
	// What was processed is safe already; this lets a successor begin where this one ends.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := c.heartbeat(last)
	c.client.CommitOffsetsSync(last, c.parts.offsets(), nil)
	return err
}

// poll waits for records until the next heartbeat is due, or less while a partition
// waits to be opened again. It takes all that was fetched: records of one partition alone
// would leave the others idle.
func (c *Consumer) poll(ctx context.Context, until time.Time) kgo.Fetches {
	if at, some := c.parts.nextRetry(); some && at.Before(until) {
		until = at
	}
	pollCtx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return c.client.PollFetches(pollCtx)
}

// fetchErrors sorts what the client reports: what it mends by itself is left to it,
// what means that records are gone makes the partition be opened again, which finds
// out exactly. A topic that was deleted and made again is an error for good: the client
// stays with the topic that it knows.
func (c *Consumer) fetchErrors(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
			continue
		}
		if errors.Is(e.Err, kerr.UnknownTopicID) {
			return fmt.Errorf("topic %q: %w", e.Topic, ErrMadeAgain)
		}
		p := c.parts.get(e.Topic, e.Partition)
		if p == nil {
			c.log.Warn("Kafka reports an error", "topic", e.Topic, "partition", e.Partition, "error", e.Err)
			continue
		}
		c.suspend(p, fmt.Errorf("fetching: %w", e.Err))
	}
	return nil
}

// heartbeat gives every open worker its heartbeat.
func (c *Consumer) heartbeat(ctx context.Context) error {
	for _, p := range c.parts.open() {
		if err := p.worker.Heartbeat(ctx); err != nil {
			if err := c.failed(ctx, p, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// hint commits offsets, which nobody needs, in the background: the client waits until a
// rebalance is over and the coordinator answers, and no partition must stand still for that.
func (c *Consumer) hint(ctx context.Context) {
	if !c.hinting.TryLock() {
		return // the last ones are still on their way
	}
	offsets := c.parts.offsets()
	go func() {
		defer c.hinting.Unlock()
		c.client.CommitOffsetsSync(ctx, offsets, nil)
	}()
}

// failed suspends a partition after an error of its worker. It returns the error when
// going on would lose events.
func (c *Consumer) failed(ctx context.Context, p *partition, err error) error {
	if errors.Is(err, ingest.ErrGone) {
		return fmt.Errorf("topic %q, partition %d: %w", p.topic.Name, p.number, err)
	}
	if ctx.Err() == nil {
		c.suspend(p, err)
	}
	return nil
}

func (c *Consumer) suspend(p *partition, err error) {
	pause := c.parts.suspend(p)
	c.progress.closed(p)
	c.client.PauseFetchPartitions(map[string][]int32{p.topic.Name: {p.number}})
	say := c.log.Warn
	if errors.Is(err, ingest.ErrLost) {
		say = c.log.Info // part of the protocol: the worker knows where to resume
	}
	say("a partition is opened again", "topic", p.topic.Name, "partition", p.number, "in", pause, "error", err)
}

// logs returns the id of a topic and the offsets of all its partitions.
func (c *Consumer) logs(ctx context.Context, topic string) (featurestore.TopicID, map[int32]ingest.Offsets, error) {
	return Logs(ctx, c.client, topic)
}
