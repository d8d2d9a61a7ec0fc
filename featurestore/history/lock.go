package history

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TryLock takes a name for a connection: work that one process at a time does. mine is false
// while another connection to the database has it. Who has it calls [Unlock] before the
// connection goes back; a connection that breaks lets go of it too.
func TryLock(ctx context.Context, conn *pgxpool.Conn, name string) (mine bool, err error) {
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtext($1))", name).Scan(&mine); err != nil {
		return false, fmt.Errorf("asking Postgres for the lock %q: %w", name, err)
	}
	return mine, nil
}

// Unlock gives a name back, even when ctx is over.
func Unlock(ctx context.Context, conn *pgxpool.Conn, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock(hashtext($1))", name); err != nil {
		_ = conn.Conn().Close(ctx) // which lets go of it
	}
}
