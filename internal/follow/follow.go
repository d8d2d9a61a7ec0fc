// Package follow is what a service needs to keep up with something that is stored in Postgres: it waits for announcements, and
// keeps a snapshot to start from while Postgres is away.
package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// lookEvery is how often to look for what was not announced, or missed.
const lookEvery = 2 * time.Second

// Channel is a Postgres channel on which changes are announced.
type Channel struct {
	Pool *pgxpool.Pool
	Name string
	Log  *slog.Logger
}

// Run calls look at first, at each announcement, and every two seconds, one call at a time, until the context ends. look gets
// the connection that listens. After an error the log has it, and Run tries again with another connection.
func (c *Channel) Run(ctx context.Context, look func(context.Context, *pgxpool.Conn) error) error {
	for ctx.Err() == nil {
		if err := c.listen(ctx, look); err != nil && ctx.Err() == nil {
			c.Log.Warn("cannot follow what is stored in Postgres; trying again", "channel", c.Name, "error", err)
		}
		pause(ctx, lookEvery)
	}
	return nil
}

// listen waits for announcements on one connection until it fails.
func (c *Channel) listen(ctx context.Context, look func(context.Context, *pgxpool.Conn) error) error {
	conn, err := c.Pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer release(ctx, conn)
	if _, err := conn.Exec(ctx, "LISTEN "+c.Name); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	for {
		if err := look(ctx, conn); err != nil {
			return err
		}
		waitCtx, cancel := context.WithTimeout(ctx, lookEvery)
		_, err := conn.Conn().WaitForNotification(waitCtx)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("waiting for an announcement: %w", err)
		}
	}
}

// release gives a listening connection back without its subscription.
func release(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "UNLISTEN *"); err != nil {
		_ = conn.Conn().Close(ctx) // the pool drops a closed connection
	}
	conn.Release()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// ReadSnapshot reads a snapshot file into value, as JSON.
func ReadSnapshot(path string, value any) error {
	stored, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the snapshot: %w", err)
	}
	if err := json.Unmarshal(stored, value); err != nil {
		return fmt.Errorf("the snapshot %s is damaged: %w", path, err)
	}
	return nil
}

// WriteSnapshot replaces a snapshot file at once, so that it is never half written.
func WriteSnapshot(path string, value any) error {
	stored, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("making its directory: %w", err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, stored, 0o600); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("putting it in place: %w", err)
	}
	return nil
}
