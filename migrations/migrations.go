// Package migrations holds the SQL that brings Onehop's Postgres schema up to date,
// and runs it.
package migrations

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var files embed.FS

// Up applies what is missing, under an advisory lock, so that services which start
// together wait for each other. It returns how many migrations it applied.
func Up(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	sub, err := fs.Sub(files, ".")
	if err != nil {
		return 0, fmt.Errorf("embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return 0, fmt.Errorf("the migration lock: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }() // the pool lives on
	// Qualified, since a user called onehop would look into the schema onehop first, once
	// that exists, and find no table there.
	provider, err := goose.NewProvider(goose.DialectPostgres, db, sub,
		goose.WithSessionLocker(locker), goose.WithTableName("public.onehop_migrations"))
	if err != nil {
		return 0, fmt.Errorf("reading the migrations: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return 0, fmt.Errorf("migrating Postgres: %w", err)
	}
	return len(results), nil
}
