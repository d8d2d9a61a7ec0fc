package stream

import (
	"context"
	"runtime"
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
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
		p := c.parts.get(fetched.Topic, fetched.Partition)
		if p == nil || !p.isOpen || len(fetched.Records) == 0 {
			return // what is not processed now is read again when the partition opens
		}
		group.Go(func() error { return c.processPartition(ctx, p, &fetched) })
	})
	return group.Wait()
}

func (c *Consumer) processPartition(ctx context.Context, p *partition, fetched *kgo.FetchTopicPartition) error {
	start := time.Now()
	batch := p.decode(fetched.Records)
	if batch.To <= p.next {
		return nil
	}
	if err := c.work(ctx, p, fetched.Records, batch); err != nil {
		return c.failed(ctx, p, err)
	}
	p.next, p.pause = batch.To, 0
	if c.config.Observe != nil {
		lag := max(0, fetched.HighWatermark-p.next)
		c.config.Observe(p.topic.Name, p.topic.Source, p.number, &batch, lag, time.Since(start))
	}
	return nil
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

// decode decodes the records that are not processed yet.
func (p *partition) decode(records []*kgo.Record) Batch {
	batch := Batch{Batch: ingest.Batch{From: p.next, To: p.next, Events: make([]featurestore.Event, 0, len(records))}}
	for _, r := range records {
		if r.Offset < p.next {
			continue
		}
		batch.To = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		event := featurestore.Event{
			Position:   featurestore.Position{Partition: r.Partition, Offset: r.Offset},
			RecordTime: r.Timestamp.UnixMicro(),
		}
		if err := p.decoder.Decode(r.Value, &event); err != nil {
			batch.Rejected = append(batch.Rejected, Rejection{Record: r, Reason: err})
			continue
		}
		batch.Newest = max(batch.Newest, event.RecordTime)
		batch.Events = append(batch.Events, event)
	}
	return batch
}
