package history

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Alone does what one process at a time does, under a name: mine is false, and nothing is
// done, while another connection to the database has the name. The work may use the connection
// that has it; if that breaks, the name is free again.
func Alone(ctx context.Context, pool *pgxpool.Pool, name string, work func(conn *pgxpool.Conn) error) (mine bool, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, fmt.Errorf("connecting to Postgres: %w", err)
	}
	defer conn.Release()
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtext($1))", name).Scan(&mine); err != nil {
		return false, fmt.Errorf("asking Postgres for the lock %q: %w", name, err)
	}
	if !mine {
		return false, nil
	}
	defer unlock(ctx, conn, name)
	return true, work(conn)
}

// unlock gives a name back, even when ctx is over.
func unlock(ctx context.Context, conn *pgxpool.Conn, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock(hashtext($1))", name); err != nil {
		_ = conn.Conn().Close(ctx) // which lets go of it
	}
}
