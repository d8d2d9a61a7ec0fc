package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

const (
	// A transaction of rows ends, between two event times, when it has so many rows or bytes,
	// or is so old.
	batchRows  = 20_000
	batchBytes = 16 << 20
	batchAge   = 10 * time.Second
	// batchTimeout is after how long the broker aborts a transaction: it bounds the rows of
	// one event time, which are never in two.
	batchTimeout = 5 * time.Minute
	// batchDelivery is how long Kafka may take to have a record, or to end a transaction.
	batchDelivery = time.Minute
	batchBuffered = 10_000
)

// ErrMaterializedElsewhere means that a later run of the same batch source has taken over.
var ErrMaterializedElsewhere = errors.New("another run for the same source has taken over, or a transaction took over 5 minutes; " +
	"what was committed stays: run it again, and it goes on from there")

// Row is a row of a batch source.
type Row struct {
	// Time is the event time, in microseconds.
	Time int64
	// Key and Value are those of its record; the key is nil for none. They are not changed
	// after they were given to a writer.
	Key, Value []byte
}

// BatchWriter writes the rows of a batch source to its topic, each once: rows come in the
// order of event time, and every record says in a header of which transaction it is and what
// its event time is. So the topic itself says how far it got, in the same transaction as the
// rows, and after a crash the next run goes on from there. Of all runs for a topic the last
// one to begin is alone: they share a transactional id, as retries of dead letters do.
//
// It is not safe for concurrent use. Close it when nobody uses it any more.
type BatchWriter struct {
	source *featurestore.Source
	client *kgo.Client
	reader *kgo.Client
	last   Reached
	full   int // so many rows end a transaction

	open        bool // whether there is a transaction
	began       time.Time
	rows, bytes int   // of the transaction
	time        int64 // of its newest row
	committed   int64

	mu   sync.Mutex // of what follows, which the client calls back about
	err  error
	ends map[int32]int64
}

// NewBatchWriter makes the topic when it is not there, with so many partitions, ends what
// other runs have open, keeps them from writing, and reads how far they got.
func NewBatchWriter(ctx context.Context, source *featurestore.Source, partitions int32, options []kgo.Opt) (*BatchWriter, error) {
	reader, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("the Kafka client: %w", err)
	}
	w := &BatchWriter{source: source, reader: reader, full: batchRows, ends: map[int32]int64{}}
	if err := w.begin(ctx, partitions, options); err != nil {
		w.Close(ctx)
		return nil, err
	}
	return w, nil
}

func (w *BatchWriter) begin(ctx context.Context, partitions int32, options []kgo.Opt) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*batchDelivery)
	defer cancel()
	if err := keepTopic(ctx, w.reader, w.source.Topic, partitions); err != nil {
		return err
	}
	w.client, err = kgo.NewClient(append(slices.Clone(options),
		kgo.TransactionalID("onehop.materialize."+w.source.Topic),
		kgo.TransactionTimeout(batchTimeout),
		kgo.RecordDeliveryTimeout(batchDelivery),
		kgo.ProducerBatchMaxBytes(2<<20),
		kgo.MaxBufferedRecords(batchBuffered), kgo.MaxBufferedBytes(batchBytes),
	)...)
	if err != nil {
		return fmt.Errorf("the Kafka client: %w", err)
	}
	if _, _, err := w.client.ProducerID(ctx); err != nil {
		return fmt.Errorf("beginning transactions for topic %q: %w", w.source.Topic, err)
	}
	w.last, err = ReadReached(ctx, w.reader, w.source.Topic, options)
	return err
}

// Reached is how far the rows were written for good, by this run and those before it.
func (w *BatchWriter) Reached() Reached { return w.last }

// Committed is how many rows were written for good.
func (w *BatchWriter) Committed() int64 { return w.committed }

// Write writes a row, whose event time is not before that of the row before. It is there
// for good when its transaction is committed, which happens as rows go by.
func (w *BatchWriter) Write(ctx context.Context, row Row) error {
	if row.Time < w.time {
		return fmt.Errorf("a row of %s comes after one of %s: rows must be in the order of event time", featurestore.FormatTime(row.Time), featurestore.FormatTime(w.time))
	}
	if full := w.rows >= w.full || w.bytes >= batchBytes || w.rows > 0 && time.Since(w.began) > batchAge; full && row.Time > w.time {
		if err := w.Commit(ctx); err != nil {
			return err
		}
	}
	if !w.open {
		if err := w.client.BeginTransaction(); err != nil {
			return fmt.Errorf("beginning a transaction for topic %q: %w", w.source.Topic, err)
		}
		w.open, w.began = true, time.Now()
		w.last.transaction++
	}
	w.rows, w.bytes, w.time = w.rows+1, w.bytes+len(row.Key)+len(row.Value), row.Time
	w.client.Produce(ctx, &kgo.Record{
		Topic: w.source.Topic, Key: row.Key, Value: row.Value,
		Headers: []kgo.RecordHeader{Reached{transaction: w.last.transaction, Time: row.Time}.header()},
	}, w.produced)
	return w.failed(ctx, w.problem())
}

// produced is told what became of a record.
func (w *BatchWriter) produced(r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.ends[r.Partition] = max(w.ends[r.Partition], r.Offset+1)
	} else if w.err == nil {
		w.err = err
	}
}

func (w *BatchWriter) problem() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Commit ends the transaction, so that its rows are there for good. After an error the writer
// is of no use: what became of the transaction is for the next run to read.
func (w *BatchWriter) Commit(ctx context.Context) error {
	if !w.open {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, batchDelivery)
	defer cancel()
	err := w.client.Flush(within)
	if problem := w.problem(); problem != nil {
		err = problem // which says more
	}
	if err != nil {
		return w.failed(ctx, err)
	}
	// An end that is cut off leaves a transaction open, in the way of every reader.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchDelivery)
	defer cancel()
	if err := w.client.EndTransaction(ending, kgo.TryCommit); err != nil {
		return w.failed(ctx, err)
	}
	w.committed, w.last.Time = w.committed+int64(w.rows), w.time
	w.open, w.rows, w.bytes = false, 0, 0
	return nil
}

// failed aborts the transaction when there is an error.
func (w *BatchWriter) failed(ctx context.Context, err error) error {
	if err == nil || !w.open {
		return err
	}
	if fenced(err) {
		w.open = false // the other run has ended it; to abort it would end the other's
		return ErrMaterializedElsewhere
	}
	return fmt.Errorf("writing rows to topic %q: %w", w.source.Topic, errors.Join(err, w.abort(ctx)))
}

// abort drops the rows of the transaction, though ctx may be over.
func (w *BatchWriter) abort(ctx context.Context) error {
	w.open = false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchDelivery)
	defer cancel()
	err := w.client.AbortBufferedRecords(ctx)
	if problem := w.problem(); fenced(problem) {
		return nil
	}
	if err == nil {
		err = w.client.EndTransaction(ctx, kgo.TryAbort)
	}
	if err != nil && !fenced(err) {
		return fmt.Errorf("aborting the transaction: %w", err)
	}
	return nil
}

// Visible waits until readers see what was committed.
func (w *BatchWriter) Visible(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock() // nothing is written any more
	if err := visible(ctx, w.reader, map[string]map[int32]int64{w.source.Topic: w.ends}); err != nil {
		return fmt.Errorf("the rows are written, but Kafka does not show them yet: %w", err)
	}
	return nil
}

// Close aborts what was not committed and closes the connections, though ctx may be over.
func (w *BatchWriter) Close(ctx context.Context) {
	if w.client != nil {
		if w.open {
			_ = w.abort(ctx) // the next run does so too
		}
		w.client.Close()
	}
	w.reader.Close()
}
