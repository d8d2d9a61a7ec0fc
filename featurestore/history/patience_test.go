package history

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/featurestore/ingest"
)

// TestWriterThatVanishedIsNotWaitedFor: a connection that nobody is at the other end of, as
// after a power loss, keeps the offset locked for as long as Postgres lets it.
func TestWriterThatVanishedIsNotWaitedFor(t *testing.T) {
	table, pool := open(t)
	table.idle = 300 * time.Millisecond
	all := events(100)
	process(t, table, all[:50])
	gone, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gone.Rollback(context.Background()) }()
	vanished := &Writer{table: table, id: id, next: 50}
	if err := vanished.copy(t.Context(), gone, ingest.Batch{From: 50, To: 80, Events: all[50:80]}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	process(t, table, all[50:]) // it would wait for gone to end
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if n := count(t, pool, table, "true"); n != 100 {
		t.Errorf("%d rows", n)
	}
}

// TestNothingIsWaitedForForever: a lock that stays, here; a network that is silent, elsewhere.
func TestNothingIsWaitedForForever(t *testing.T) {
	table, pool := open(t)
	table.patience = 300 * time.Millisecond
	all := events(100)
	w := table.NewWriter(id)
	if _, err := w.Open(t.Context(), logs); err != nil {
		t.Fatal(err)
	}
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT FROM onehop.offsets WHERE namespace = $1 FOR UPDATE", table.namespace); err != nil {
			return err
		}
		if err := w.Process(t.Context(), ingest.Batch{To: 100, Events: all}, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while the offset is locked: %v", err)
		}
		if _, err := table.NewWriter(id).Open(t.Context(), logs); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("opening while the offset is locked: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	table.patience = writePatience
	process(t, table, all)
	if n := count(t, pool, table, "true"); n != 100 {
		t.Errorf("%d rows", n)
	}
}
