package ingest

import (
	"context"
	"errors"
	"sync"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
)

// onlineWorker folds a partition into Redis. It alone writes dead letters, before the
// watermark moves past them.
type onlineWorker struct {
	service   *service
	source    *featurestore.Source
	id        ingest.PartitionID
	partition *ingest.Partition
	views     []*ingest.View
}

// Open implements stream.Worker.
func (w *onlineWorker) Open(ctx context.Context, logs map[int32]ingest.Offsets) (int64, error) {
	next, err := w.partition.Open(ctx, logs)
	w.service.metrics.worked(w, err)
	return next, err
}

// Process implements stream.Worker.
func (w *onlineWorker) Process(ctx context.Context, batch stream.Batch) error {
	if len(batch.Rejected) > 0 {
		producer := stream.NewProducer(w.service.kafka)
		if err := producer.DeadLetters(ctx, stream.DeadLetterTopic(w.source), w.id.Topic, batch.Rejected); err != nil {
			// Somebody may have deleted the topic; the batch is read again.
			return errors.Join(err, w.service.makeTopics(ctx, w.source))
		}
		w.service.Log.Warn("records went to the dead-letter topic", "topic", w.source.Topic, "partition", w.id.Partition,
			"records", len(batch.Rejected), "first_offset", batch.Rejected[0].Record.Offset, "reason", batch.Rejected[0].Reason)
	}
	before := w.partition.Stats()
	err := w.partition.Process(ctx, batch.Batch)
	w.service.metrics.folded(w.views, before, w.partition.Stats())
	w.service.metrics.worked(w, err)
	if err == nil && len(batch.Events) > 0 {
		w.service.metrics.visible(w.views, &batch.Events[len(batch.Events)-1])
	}
	return err
}

// Heartbeat implements stream.Worker.
func (w *onlineWorker) Heartbeat(ctx context.Context) error {
	err := w.partition.Heartbeat(ctx)
	w.service.metrics.worked(w, err)
	return err
}

// historyWorker copies a partition to Postgres.
type historyWorker struct {
	table  *lazyTable
	id     ingest.PartitionID
	writer *history.Writer
}

// opening guards the making of tables: Postgres would make them wait for each other
// anyway.
var opening sync.Mutex

// Open implements stream.Worker.
func (w *historyWorker) Open(ctx context.Context, logs map[int32]ingest.Offsets) (int64, error) {
	table, err := w.table.open(ctx)
	if err != nil {
		return 0, err
	}
	w.writer = table.NewWriter(w.id)
	return w.writer.Open(ctx, logs)
}

// index makes the indexes that months lack, when there is a table and it is time.
func (t *lazyTable) index(ctx context.Context) error {
	opening.Lock()
	table := t.table
	opening.Unlock()
	if table == nil || !table.Unindexed() {
		return nil
	}
	return table.Index(ctx)
}

func (t *lazyTable) open(ctx context.Context) (*history.Table, error) {
	opening.Lock()
	defer opening.Unlock()
	if t.table != nil {
		return t.table, nil
	}
	table, err := history.Open(ctx, t.service.Pool, t.service.Common.Namespace, t.source, t.keys)
	if err != nil {
		return nil, err
	}
	t.table = table
	return table, nil
}

// Process implements stream.Worker.
func (w *historyWorker) Process(ctx context.Context, batch stream.Batch) error {
	return w.writer.Process(ctx, batch.Batch, batch.Behind)
}

// Heartbeat implements stream.Worker; the offset row needs none.
func (w *historyWorker) Heartbeat(context.Context) error { return nil }
