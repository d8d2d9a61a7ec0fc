package generate

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// reportEvery is how many events lie between two calls of a progress function.
const reportEvery = 1000

// ToFile writes the next count events to w, a JSON record per line. progress, which may be nil, is told how many were written,
// every 1,000 and at the end.
func ToFile(ctx context.Context, w io.Writer, gen *Generator, count int, progress func(done int)) error {
	buffered := bufio.NewWriterSize(w, 1<<16)
	var line []byte
	for done := range count {
		if done%reportEvery == 0 {
			if ctx.Err() != nil {
				return fmt.Errorf("write events, %d of %d done: %w", done, count, context.Cause(ctx))
			}
			report(progress, done)
		}
		line = append(gen.Next().AppendJSON(line[:0]), '\n')
		if _, err := buffered.Write(line); err != nil {
			return fmt.Errorf("write events, %d of %d done: %w", done, count, err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	report(progress, count)
	return nil
}

func report(progress func(int), done int) {
	if progress != nil {
		progress(done)
	}
}

// KafkaOptions say how [ToKafka] sends.
type KafkaOptions struct {
	// Topic receives the events. It must exist unless the cluster makes topics by itself.
	Topic string
	// Count is how many events to send; 0 means until the context ends, which is then no error.
	Count int
	// Rate is how many events to send per second of real time; 0 means as fast as the brokers take them.
	Rate float64
	// Progress, if set, is told how many were handed to the client, every 1,000 and at the end.
	Progress func(done int)
}

// ToKafka sends events keyed by the user's id in decimal, with the arrival time as the record's timestamp, and waits until the
// brokers have acknowledged all. It returns how many they acknowledged and the first error. When ctx ends, events that the
// client holds but has not sent are given up. The client stays the caller's.
func ToKafka(ctx context.Context, client *kgo.Client, gen *Generator, options KafkaOptions) (int, error) {
	sending, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Promises of events that are given up may still come after the return: they must not touch what is returned.
	var counter atomic.Int64
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			stop(err) // the first cause stays
			return
		}
		counter.Add(1)
	}
	pace := newPacer(options.Rate)
	done := 0
	for ; options.Count == 0 || done < options.Count; done++ {
		if pace.wait(sending, done) != nil {
			break
		}
		if done%reportEvery == 0 {
			report(options.Progress, done)
		}
		client.Produce(sending, newRecord(options.Topic, gen.Next()), promise)
	}
	report(options.Progress, done)
	err := client.Flush(sending)
	acknowledged := int(counter.Load())
	if err == nil && sending.Err() == nil && (options.Count == 0 || acknowledged == options.Count) {
		return acknowledged, nil
	}
	if ctx.Err() != nil && options.Count == 0 {
		return acknowledged, nil
	}
	return acknowledged, fmt.Errorf("send events to topic %s, %d acknowledged: %w", options.Topic, acknowledged, context.Cause(sending))
}

func newRecord(topic string, event Event) *kgo.Record {
	return &kgo.Record{
		Topic:     topic,
		Key:       strconv.AppendInt(nil, event.UserID, 10),
		Value:     event.AppendJSON(make([]byte, 0, 96)),
		Timestamp: time.UnixMicro(event.Arrival),
	}
}

// pacer spreads events over time.
type pacer struct {
	rate  float64
	start time.Time
}

func newPacer(rate float64) *pacer { return &pacer{rate: rate, start: time.Now()} }

// minPause keeps the timer out of the way at high rates: events go out in bursts of what is due.
const minPause = 2 * time.Millisecond

// wait returns when the event after done others is due, or the context's error.
func (p *pacer) wait(ctx context.Context, done int) error {
	if p.rate > 0 {
		due := p.start.Add(time.Duration(float64(done) / p.rate * float64(time.Second)))
		if pause := time.Until(due); pause >= minPause {
			timer := time.NewTimer(pause)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}
