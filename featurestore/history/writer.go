package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// ImportPartition is the partition of events that came from a file, in a topic of the file's
// own: before those of Kafka in the order of the log, by which a tombstone counts.
const ImportPartition int32 = -1

// Writer copies the records of one partition. It is not safe for concurrent use.
type Writer struct {
	table *Table
	id    ingest.PartitionID
	next  int64
	// buffer is memory for COPY, used again.
	buffer []byte
}

// NewWriter writes the records of a partition to the table.
func (t *Table) NewWriter(id ingest.PartitionID) *Writer {
	return &Writer{table: t, id: id}
}

// Open returns the offset after the last record that is in history. A partition that
// history does not know begins where its log begins.
func (w *Writer) Open(ctx context.Context, logs map[int32]ingest.Offsets) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, w.table.patience)
	defer cancel()
	log := logs[w.id.Partition]
	const statement = `
		INSERT INTO onehop.offsets (namespace, source, topic_id, partition, next) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, source, topic_id, partition) DO UPDATE SET next = offsets.next
		RETURNING next`
	err := w.table.pool.QueryRow(ctx, statement, w.table.namespace, w.table.source.Name,
		[16]byte(w.id.Topic), w.id.Partition, log.Start).Scan(&w.next)
	switch {
	case err != nil:
		return 0, fmt.Errorf("asking Postgres for the offset: %w", err)
	case w.next < log.Start:
		return 0, fmt.Errorf("%w: history ends at offset %d and the log begins at %d", ingest.ErrGone, w.next, log.Start)
	case w.next > log.End:
		return 0, fmt.Errorf("history: %w", &ingest.AheadError{Partition: w.id.Partition, Next: w.next, End: log.End})
	}
	w.table.progress.stand(w.id.Partition, log.End-w.next)
	return w.next, nil
}

// Process copies a batch's events and moves the offset, in one transaction. behind is how
// many records of the partition are after the batch. It returns ingest.ErrLost when another
// owner has moved the offset.
func (w *Writer) Process(ctx context.Context, batch ingest.Batch, behind int64) error {
	w.table.progress.stand(w.id.Partition, behind)
	if batch.To <= w.next {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.table.patience)
	defer cancel()
	err := w.try(ctx, batch, behind)
	var told *pgconn.PgError
	const noPartition = "23514"
	if errors.As(err, &told) && told.Code == noPartition { // another process dropped a month
		w.table.made.forget()
		err = w.try(ctx, batch, behind)
	}
	if err != nil {
		return err
	}
	w.next = batch.To
	return nil
}

func (w *Writer) try(ctx context.Context, batch ingest.Batch, behind int64) error {
	if err := w.table.ensurePartitions(ctx, spansOf(batch.Events), behind <= farBehind); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, w.table.pool, func(tx pgx.Tx) error { return w.copy(ctx, tx, batch) })
}

func (w *Writer) copy(ctx context.Context, tx pgx.Tx, batch ingest.Batch) error {
	// The commit does not wait for the disk: a server that crashes may lose the last
	// transactions, and loses their offsets with them, which the next one finds out. And the
	// transaction does not outlive its writer for long: a server does not notice that the
	// network, or the machine at its other end, is gone, and the offset stays locked.
	const statement = `
		UPDATE onehop.offsets SET next = $5 FROM (SELECT set_config('synchronous_commit', 'off', true),
			set_config('idle_in_transaction_session_timeout', $7, true), set_config('statement_timeout', $8, true)) AS settings
		WHERE namespace = $1 AND source = $2 AND topic_id = $3 AND partition = $4 AND next = $6`
	// First, so that a rival waits here and then finds the offset moved.
	tag, err := tx.Exec(ctx, statement, w.table.namespace, w.table.source.Name,
		[16]byte(w.id.Topic), w.id.Partition, batch.To, w.next, milliseconds(w.table.idle), milliseconds(w.table.patience))
	switch {
	case err != nil:
		return fmt.Errorf("moving the offset in Postgres: %w", err)
	case tag.RowsAffected() == 0:
		return fmt.Errorf("history: another owner moved the offset past %d: %w", w.next, ingest.ErrLost)
	}
	events := batch.Events
	for len(events) > 0 && events[0].Offset < w.next {
		events = events[1:]
	}
	return w.copyEvents(ctx, tx.Conn(), events)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// copyEvents copies events.
func (w *Writer) copyEvents(ctx context.Context, conn *pgx.Conn, events []featurestore.Event) error {
	data := newCopyReader(w.id.Topic, len(w.table.columns), events, w.buffer)
	err := w.table.copyFrom(ctx, conn, data)
	w.buffer = nil
	if err == nil { // else somebody may be reading data still
		w.buffer = data.buffer
	}
	return err
}

// copyFrom brings rows to the table by COPY, and lets the connection's tracer see it.
func (t *Table) copyFrom(ctx context.Context, conn *pgx.Conn, data io.Reader) error {
	tracer, traced := conn.Config().Tracer.(pgx.CopyFromTracer)
	if traced {
		ctx = tracer.TraceCopyFromStart(ctx, conn, pgx.TraceCopyFromStartData{TableName: t.identifier(), ColumnNames: t.columns})
	}
	tag, err := conn.PgConn().CopyFrom(ctx, data, t.copy)
	if traced {
		tracer.TraceCopyFromEnd(ctx, conn, pgx.TraceCopyFromEndData{CommandTag: tag, Err: err})
	}
	if err != nil {
		return fmt.Errorf("copying records to Postgres: %w", err)
	}
	return nil
}

// made remembers which partitions exist, by the suffixes of their names.
type made struct {
	mu     sync.Mutex
	suffix map[string]bool
}

// forget makes the next writer look.
func (m *made) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.suffix = nil
}

// ensurePartitions makes the partitions of spans that are not there.
func (t *Table) ensurePartitions(ctx context.Context, spans []span, indexed bool) error {
	t.made.mu.Lock()
	defer t.made.mu.Unlock()
	if t.made.suffix == nil {
		t.made.suffix = map[string]bool{}
	}
	for _, s := range spans {
		if t.made.suffix[s.suffix] {
			continue
		}
		if err := t.makePartition(ctx, s, indexed); err != nil {
			return err
		}
		t.made.suffix[s.suffix] = true
	}
	return nil
}
