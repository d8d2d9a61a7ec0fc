// Package servedlog writes the serving log: samples of the vectors that a service gives, to the
// Kafka topic from which ingest copies them to history. It never delays an answer: what it
// cannot take at once is dropped and counted.
package servedlog

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
)

// Bounds of what waits.
const (
	queueRequests = 256      // answered and not encoded yet
	queueBytes    = 64 << 20 // of their rows
	kafkaRecords  = 10_000   // encoded and not in Kafka yet
	kafkaBytes    = 64 << 20
	// delivery is how long Kafka may take for a record, and the end of the service for all.
	delivery = 10 * time.Second
	// maxBatchBytes lets a record of 1 MiB through.
	maxBatchBytes = 2 << 20
)

// Vectors are what one request was answered with.
type Vectors struct {
	// Kind, Name and Version are those of [served.Record].
	Kind, Name string
	Version    int64
	Plan       *plan.Plan
	// Keys are those of each entity of the plan; the log owns them.
	Keys []plan.Keys
	// Rows is how many vectors there are.
	Rows int
	// Read holds the rows, for each view of the plan those of its entity's keys, with their
	// watermarks. The log releases it.
	Read *online.Read
	// Now is the clock of the request in microseconds.
	Now       int64
	RequestID string
	// Request holds, for each request field of the plan, one value for all vectors or one for
	// each; Numbers are the request fields besides that a model was given. The log owns them.
	Request [][]featurestore.Value
	Numbers []Numbers
	// Scores has one for each vector of a model. The log owns it.
	Scores []float32
}

// Numbers are the values of a numeric request field, one for all vectors or one for each.
type Numbers struct {
	Name   string
	Values []float64
}

// Log is the serving log of a service. A nil Log takes nothing. It is safe for concurrent use.
type Log struct {
	client  *kgo.Client
	log     *slog.Logger
	queue   chan *Vectors
	bytes   atomic.Int64 // of the rows in the queue
	random  func() float64
	stop    chan struct{}
	stopped chan struct{}

	logged, dropped *prometheus.CounterVec
}

// The reasons for which vectors are dropped.
const (
	dropFull   = "full"   // more are given than can be encoded or written
	dropKafka  = "kafka"  // Kafka did not take them
	dropEncode = "encode" // they are too large, or a row cannot be read
)

// Start begins a log that writes to Kafka; the caller closes it.
func Start(ctx context.Context, brokers []string, registry prometheus.Registerer, log *slog.Logger) (*Log, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ClientID("onehop-served"), kgo.RecordDeliveryTimeout(delivery),
		kgo.ProducerBatchMaxBytes(maxBatchBytes), kgo.MaxBufferedRecords(kafkaRecords), kgo.MaxBufferedBytes(kafkaBytes),
		kgo.ProducerLinger(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	l := newLog(client, registry, log)
	go l.run(context.WithoutCancel(ctx)) // until Close: requests end after the signal
	return l, nil
}

func newLog(client *kgo.Client, registry prometheus.Registerer, log *slog.Logger) *Log {
	l := &Log{
		client: client, log: log, queue: make(chan *Vectors, queueRequests), random: rand.Float64,
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	l.logged = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onehop_served_logged_total", Help: "Vectors that Kafka has taken for the serving log.",
	}, []string{"kind", "name"})
	l.dropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onehop_served_dropped_total", Help: "Vectors that were to be logged and are not, by reason.",
	}, []string{"kind", "name", "reason"})
	registry.MustRegister(l.logged, l.dropped)
	return l
}

// Sampled decides whether a request is logged.
func (l *Log) Sampled(what featurestore.Log) bool {
	return l != nil && what.Sample > 0 && (what.Sample >= 1 || l.random() < what.Sample)
}

// Put takes vectors to be logged. It does not wait.
func (l *Log) Put(v *Vectors) {
	size := int64(v.Read.Bytes())
	if l.bytes.Add(size) <= queueBytes {
		select {
		case l.queue <- v:
			return
		default:
		}
	}
	l.bytes.Add(-size)
	l.drop(v, dropFull, v.Rows)
	v.Read.Release()
}

func (l *Log) drop(v *Vectors, reason string, n int) {
	l.dropped.WithLabelValues(v.Kind, v.Name, reason).Add(float64(n))
}

// run encodes until the log is closed, and then what is left in the queue.
func (l *Log) run(ctx context.Context) {
	defer close(l.stopped)
	for {
		select {
		case v := <-l.queue:
			l.write(ctx, v)
		case <-l.stop:
			for {
				select {
				case v := <-l.queue:
					l.write(ctx, v)
				default:
					return
				}
			}
		}
	}
}

// Close writes what is left, for as long as that may take, and closes the client. Nothing may
// be put any more.
func (l *Log) Close(ctx context.Context) {
	if l == nil {
		return
	}
	close(l.stop)
	<-l.stopped
	ctx = context.WithoutCancel(ctx)
	within := func(limit time.Duration, f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return f(ctx)
	}
	if err := within(delivery/2, l.client.Flush); err != nil {
		l.log.Warn("the last vectors of the serving log were not written", "records", l.client.BufferedProduceRecords(), "error", err)
		_ = within(time.Second, l.client.AbortBufferedRecords) // so that they are counted
	}
	l.client.Close()
}
