package history

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Import is the copying of files in one transaction: history has all of their events
// afterwards, or none. Months are made by other transactions before it comes to them, so that
// nobody who reads or writes history waits for it. It is not safe for concurrent use.
type Import struct {
	table *Table
	tx    pgx.Tx
}

// Import commits what work copies, unless that fails. Retention drops no months meanwhile.
// The commit waits for the disk.
func (t *Table) Import(ctx context.Context, work func(i *Import) error) error {
	tx, err := t.pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("connecting to Postgres: %w", err)
	}
	defer func() { // which does nothing after the commit
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = tx.Rollback(ctx) // a connection that is broken is rolled back by Postgres
	}()
	i := &Import{table: t, tx: tx}
	if err := i.begin(ctx); err != nil {
		return err
	}
	if err := work(i); err != nil {
		return err
	}
	// Who is stopped now must know what became of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.patience)
	defer cancel()
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

// begin bounds what the transaction may cost others: Postgres ends it when its client is
// silent, or is gone and cannot say so.
func (i *Import) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, i.table.patience)
	defer cancel()
	i.table.made.forget() // months may have gone since
	_, err := i.tx.Exec(ctx, `SELECT set_config('idle_in_transaction_session_timeout', $1, true), set_config('statement_timeout', $1, true),
		set_config('tcp_keepalives_idle', '10', true), set_config('tcp_keepalives_interval', '5', true), set_config('tcp_keepalives_count', '4', true)`,
		milliseconds(i.table.patience))
	if err == nil {
		_, err = i.tx.Exec(ctx, "SELECT pg_advisory_xact_lock_shared(hashtext($1))", readersLock(i.table.namespace))
	}
	if err != nil {
		return fmt.Errorf("beginning an import: %w", err)
	}
	return nil
}

// Open returns how many events of a file, which are those of a topic of its own, history has
// or this import has copied, and whether they are all of them. It fails with
// [ingest.ErrLost] while another import has the file open.
func (i *Import) Open(ctx context.Context, topic featurestore.TopicID) (next int64, whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, i.table.patience)
	defer cancel()
	var mine bool
	name := fmt.Sprintf("onehop import %s.%s %s", i.table.namespace, i.table.source.Name, topic)
	if err := i.tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock(hashtext($1))", name).Scan(&mine); err != nil {
		return 0, false, fmt.Errorf("asking Postgres for the lock %q: %w", name, err)
	}
	if !mine {
		return 0, false, fmt.Errorf("history: another import has the same file open: %w", ingest.ErrLost)
	}
	const statement = `
		INSERT INTO onehop.offsets (namespace, source, topic_id, partition, next) VALUES ($1, $2, $3, $4, 0)
		ON CONFLICT (namespace, source, topic_id, partition) DO UPDATE SET next = offsets.next
		RETURNING next, whole`
	err = i.tx.QueryRow(ctx, statement, i.table.namespace, i.table.source.Name, [16]byte(topic), ImportPartition).Scan(&next, &whole)
	if err != nil {
		return 0, false, fmt.Errorf("asking Postgres for the offset: %w", err)
	}
	return next, whole, nil
}

// Close says that a file has so many events and that all are copied.
func (i *Import) Close(ctx context.Context, topic featurestore.TopicID, events int64) error {
	ctx, cancel := context.WithTimeout(ctx, i.table.patience)
	defer cancel()
	const statement = `UPDATE onehop.offsets SET next = $5, whole = true WHERE namespace = $1 AND source = $2 AND topic_id = $3 AND partition = $4`
	if _, err := i.tx.Exec(ctx, statement, i.table.namespace, i.table.source.Name, [16]byte(topic), ImportPartition, events); err != nil {
		return fmt.Errorf("moving the offset in Postgres: %w", err)
	}
	return nil
}

// Copy copies rows. Months that it makes get their indexes from [Table.IndexAll].
func (i *Import) Copy(ctx context.Context, rows *Rows) error {
	ctx, cancel := context.WithTimeout(ctx, i.table.patience)
	defer cancel()
	if err := i.table.ensurePartitions(ctx, rows.spans.list, false); err != nil {
		return err
	}
	// A transaction's next statement sees what was attached before it.
	return i.table.copyFrom(ctx, i.tx.Conn(), bytes.NewReader(append(rows.data, copyEnd...)))
}

// Rows are events of one topic as Postgres takes them.
type Rows struct {
	encoder rowEncoder
	data    []byte
	spans   spans
	n       int
}

// NewRows returns no rows yet, of a topic's events for the table.
func (t *Table) NewRows(topic featurestore.TopicID) *Rows {
	r := &Rows{encoder: rowEncoder{topic: topic, columns: int16(len(t.columns))}}
	r.Reset()
	return r
}

// Add adds an event, and keeps nothing of it.
func (r *Rows) Add(e *featurestore.Event) {
	r.data = r.encoder.append(r.data, e)
	r.spans.add(e.Time)
	r.n++
}

// Len is how many rows there are.
func (r *Rows) Len() int { return r.n }

// Bytes is how long the rows are.
func (r *Rows) Bytes() int { return len(r.data) }

// Reset makes the rows none again, and keeps their memory.
func (r *Rows) Reset() {
	r.data, r.n = append(r.data[:0], copySignature...), 0
	r.spans = spans{list: r.spans.list[:0]}
}
