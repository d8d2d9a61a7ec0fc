package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/internal/generate"
)

// Dirt says how the events of a fault differ from a clean stream.
type Dirt struct {
	// Late, Duplicate and Malformed are fractions, 0 to 1.
	Late, Duplicate, Malformed float64
	// Skew is how far, either way, the clocks of producers are off.
	Skew time.Duration
	// Users spreads the events evenly over so many users; 0 leaves 1,000 of them to be
	// drawn by their popularity.
	Users int
}

// Feed produces the events: the same for the same seed. It is safe for concurrent use.
type Feed struct {
	client *kgo.Client
	topic  string
	mu     sync.Mutex // over the generator
	gen    *generate.Generator
	random *rand.Rand
	dirt   Dirt
	made   int64
	sent   atomic.Int64 // events that Kafka has
	// acknowledged, when set, is told of events that Kafka has.
	acknowledged func([]*kgo.Record)
}

func newFeed(brokers []string, topic string, seed uint64, dirt Dirt) (*Feed, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(50_000),
		// It must not stand longer than what it is to measure.
		kgo.MetadataMinAge(100*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		return nil, fmt.Errorf("the producer: %w", err)
	}
	return &Feed{
		client: client, topic: topic, dirt: dirt, random: rand.New(rand.NewPCG(seed, 7)),
		gen: generate.New(generate.Options{Seed: seed, Late: dirt.Late, Duplicate: dirt.Duplicate, Malformed: dirt.Malformed}),
	}, nil
}

// Close ends the producer.
func (f *Feed) Close() { f.client.Close() }

// Send produces the next n events and waits until Kafka has them.
func (f *Feed) Send(ctx context.Context, n int) error {
	records := make([]*kgo.Record, n)
	f.mu.Lock()
	for i := range records {
		records[i] = f.next()
	}
	f.mu.Unlock()
	if err := f.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("producing events: %w", err)
	}
	if f.acknowledged != nil {
		f.acknowledged(records)
	}
	f.sent.Add(int64(n))
	return nil
}

func (f *Feed) sendOne(ctx context.Context, r *kgo.Record) error {
	if err := f.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("producing an event: %w", err)
	}
	f.sent.Add(1)
	return nil
}

// forget makes the producer ask anew what the topic is.
func (f *Feed) forget() { f.client.PurgeTopicsFromClient(f.topic) }

func (f *Feed) next() *kgo.Record {
	e := f.gen.Next()
	f.made++
	if f.dirt.Users > 0 {
		e.UserID = 1 + f.made%int64(f.dirt.Users)
	}
	if f.dirt.Skew > 0 {
		e.Time += f.random.Int64N(2*f.dirt.Skew.Microseconds()) - f.dirt.Skew.Microseconds()
	}
	value := e.AppendJSON(make([]byte, 0, 128))
	if !e.Malformed {
		value = append(value[:len(value)-1], `,"weight":`...)
		value = append(strconv.AppendFloat(value, f.random.Float64(), 'g', -1, 64), '}')
	}
	return &kgo.Record{
		Topic: f.topic, Key: strconv.AppendInt(nil, e.UserID, 10), Value: value, Timestamp: time.UnixMicro(e.Arrival),
	}
}

// Stream sends so many events a second until it is told that it is over.
func (f *Feed) Stream(ctx context.Context, rate int, over <-chan struct{}) error {
	const steps = 10 // a second
	tick := time.NewTicker(time.Second / steps)
	defer tick.Stop()
	for {
		if err := f.Send(ctx, max(1, rate/steps)); err != nil {
			return err
		}
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
