package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
)

// ErrRead means that months cannot be dropped now: somebody reads history.
var ErrRead = errors.New("history is being read")

// retentionSlack is how much longer than the retention events are kept: rows in Redis stay
// an hour longer than they must too, and clocks differ.
const retentionSlack = 24 * time.Hour

// Retain drops the months that are wholly older, at a time, than the source's retention, and
// returns their names; none without a retention. It fails with [ErrRead] while somebody reads
// history or another process does the same.
func (t *Table) Retain(ctx context.Context, now time.Time) (dropped []string, err error) {
	if t.source.Retention == 0 {
		return nil, nil
	}
	old, err := t.before(ctx, now.Add(-t.source.Retention-retentionSlack))
	if err == nil && len(old) > 0 {
		err = pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error { return t.drop(ctx, tx, old) })
	}
	switch {
	case errors.Is(err, ErrRead), lockNotAvailable(err):
		return nil, ErrRead
	case err != nil:
		return nil, fmt.Errorf("dropping months of the history of source %q: %w", t.source.Name, err)
	}
	for _, s := range old {
		dropped = append(dropped, t.source.Name+s.suffix)
	}
	return dropped, nil
}

// lockNotAvailable says that a statement waited for a lock as long as it may.
func lockNotAvailable(err error) bool {
	var told *pgconn.PgError
	return errors.As(err, &told) && told.Code == "55P03"
}

// before lists the partitions of what is wholly before a time, oldest first.
func (t *Table) before(ctx context.Context, at time.Time) ([]span, error) {
	conn, err := t.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	leaves, err := t.leaves(ctx, conn)
	if err != nil {
		return nil, err
	}
	var old []span
	for table := range leaves {
		if s, ok := spanNamed(strings.TrimPrefix(table, t.source.Name)); ok && !s.to.After(at) {
			old = append(old, s)
		}
	}
	slices.SortFunc(old, func(a, b span) int { return a.to.Compare(b.to) })
	return old, nil
}

// spanNamed is the span of a partition, but not that of the far future, which never goes.
func spanNamed(suffix string) (span, bool) {
	if suffix == beforeMonths {
		return spanOf(0), true
	}
	month, err := time.Parse(monthLayout, suffix)
	if err != nil {
		return span{}, false
	}
	return spanOf(month.UnixMicro()), true
}

// drop drops partitions and says where history begins now.
func (t *Table) drop(ctx context.Context, tx pgx.Tx, old []span) error {
	const begins = `
		INSERT INTO onehop.dropped (namespace, source, before) VALUES ($1, $2, $3)
		ON CONFLICT (namespace, source) DO UPDATE SET before = greatest(dropped.before, excluded.before)`
	var alone bool
	if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock(hashtext($1))", readersLock(t.namespace)).Scan(&alone); err != nil {
		return err
	}
	if !alone {
		return ErrRead
	}
	// Writers are waited for; more of them wait meanwhile.
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s'"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, begins, t.namespace, t.source.Name, old[len(old)-1].to); err != nil {
		return err
	}
	for _, s := range old {
		if _, err := tx.Exec(ctx, "DROP TABLE "+t.qualified(t.source.Name+s.suffix)); err != nil {
			return err
		}
	}
	t.made.forget()
	return nil
}

// readersLock is the name of the lock that who reads a namespace's history shares, and that who
// drops months has alone.
func readersLock(namespace string) string { return "onehop read " + namespace }

// holdOff waits for whoever drops months, and holds off the next one until letGo. It comes
// before the transaction, which sees what there was when its first query began: one that
// waited in it would see months that are gone.
func holdOff(ctx context.Context, conn *pgxpool.Conn, namespace string) error {
	_, err := conn.Exec(ctx, "SELECT pg_advisory_lock_shared(hashtext($1))", readersLock(namespace))
	return err
}

// letGo gives a connection back, without the lock or not at all.
func letGo(ctx context.Context, conn *pgxpool.Conn, namespace string) {
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock_shared(hashtext($1))", readersLock(namespace)); err != nil {
		_ = conn.Conn().Close(ctx) // which ends the lock
	}
	conn.Release()
}

// readDropped finds out what was dropped.
func (s *Snapshot) readDropped(ctx context.Context) error {
	rows, err := s.tx.Query(ctx, "SELECT source, before FROM onehop.dropped WHERE namespace = $1", s.namespace)
	if err != nil {
		return fmt.Errorf("asking where history begins: %w", err)
	}
	var source string
	var before time.Time
	_, err = pgx.ForEachRow(rows, []any{&source, &before}, func() error {
		s.dropped[source] = before.UnixMicro()
		return nil
	})
	if err != nil {
		return fmt.Errorf("asking where history begins: %w", err)
	}
	return nil
}

// Begin is the event time, in microseconds, before which a source's events were dropped by
// its retention; 0 where none were.
func (s *Snapshot) Begin(source string) int64 { return s.dropped[source] }

// whole says that history has all events of a source from a time on, in microseconds.
func (s *Snapshot) whole(source string, from int64) error {
	begin := s.dropped[source]
	if from >= begin {
		return nil
	}
	needs := "all events"
	if from > 0 {
		needs = "the events from " + featurestore.FormatTime(from) + " on"
	}
	return featurestore.Errorf(featurestore.Invalid,
		"a row needs %s of source %q, and history begins at %s: older ones were dropped, as the source's retention says; leave out the rows of that time",
		needs, source, featurestore.FormatTime(begin))
}
