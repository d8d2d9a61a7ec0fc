package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// process gives each open partition its records, partitions side by side.
func (c *Consumer) process(ctx context.Context, fetches kgo.Fetches) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers())
	fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
		p := c.parts.get(fetched.Topic, fetched.Partition)
		if p == nil || !p.isOpen || len(fetched.Records) == 0 {
			return // what is not processed now is read again when the partition opens
		}
		group.Go(func() error { return c.processPartition(ctx, p, &fetched) })
	})
	return group.Wait()
}

// maxBatchValues bounds the memory of a batch's events: a record may hold many.
const maxBatchValues = 1 << 19

func (c *Consumer) processPartition(ctx context.Context, p *partition, fetched *kgo.FetchTopicPartition) error {
	for records := fetched.Records; len(records) > 0; {
		start := time.Now()
		if at, some := p.first(records); some {
			c.progress.begins(p, at)
		}
		batch, n, blocked := p.decode(ctx, records[:min(len(records), c.config.MaxRecords)])
		batch.Behind = max(0, fetched.HighWatermark-batch.To)
		if batch.To > p.next {
			if err := c.work(ctx, p, records[:n], batch); err != nil {
				return c.failed(ctx, p, err)
			}
			p.next, p.pause = batch.To, 0
			c.progress.processed(p, records[n-1].Timestamp, fetched.LastStableOffset)
			if c.config.Observe != nil {
				c.config.Observe(p.topic.Source, &batch, time.Since(start))
			}
		}
		if blocked != nil {
			return c.failed(ctx, p, blocked)
		}
		records = records[n:]
	}
	return nil
}

// first is the timestamp of the first record that is not processed yet.
func (p *partition) first(records []*kgo.Record) (at time.Time, some bool) {
	for _, r := range records {
		if r.Offset >= p.next && !r.Attrs.IsControl() {
			return r.Timestamp, true
		}
	}
	return time.Time{}, false
}

// maxLinks bounds the links of a batch's span.
const maxLinks = 32

// work gives a batch to the worker, where there is a tracer in a span: the writes to Redis
// and Postgres are below it, and it leads back to the producers of its first records.
func (c *Consumer) work(ctx context.Context, p *partition, records []*kgo.Record, batch Batch) error {
	if c.config.Tracer == nil {
		return p.worker.Process(ctx, batch)
	}
	var links []trace.Link
	for _, r := range records[:min(len(records), maxLinks)] {
		if r.Context == nil {
			continue
		}
		if link := trace.LinkFromContext(r.Context); link.SpanContext.IsValid() { //nolint:contextcheck // the record carries the context of its producer
			links = append(links, link)
		}
	}
	ctx, span := c.config.Tracer.Start(ctx, "ingest "+p.topic.Source, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
		trace.WithAttributes(attribute.String("messaging.destination.name", p.topic.Name),
			attribute.Int("messaging.destination.partition.id", int(p.number)), attribute.Int64("messaging.kafka.offset", batch.From),
			attribute.Int("messaging.batch.message_count", len(records))))
	defer span.End()
	err := p.worker.Process(ctx, batch)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "the batch is read again")
	}
	return err
}

// decode decodes the records that are not processed yet, as many as make a batch, and
// says how many it took. An error is ErrBlocked, met after these.
func (p *partition) decode(ctx context.Context, records []*kgo.Record) (batch Batch, n int, blocked error) {
	batch = Batch{Batch: ingest.Batch{From: p.next, To: p.next, Events: make([]featurestore.Event, 0, len(records))}}
	for _, r := range records {
		if len(batch.Events)*p.decoder.fields > maxBatchValues {
			break
		}
		if r.Offset < p.next {
			n++
			continue
		}
		if !r.Attrs.IsControl() {
			events, err := p.decoder.Decode(ctx, r, batch.Events)
			switch {
			case errors.Is(err, ErrBlocked):
				return batch, n, fmt.Errorf("offset %d: %w", r.Offset, err)
			case err != nil:
				batch.Rejected = append(batch.Rejected, Rejection{Record: r, Reason: err})
			default:
				batch.Newest = max(batch.Newest, r.Timestamp.UnixMicro())
				batch.Events = events
			}
		}
		batch.To = r.Offset + 1
		n++
	}
	return batch, n, nil
}
