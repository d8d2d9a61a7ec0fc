// Command ingest runs the ingest service; see package internal/app/ingest.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/app/ingest"
	"github.com/onehop/onehop/internal/config"
)

func main() {
	c := ingest.Config{Log: os.Stderr}
	config.Parse("ingest", description, &c, map[string]string{"listen": "127.0.0.1:8081"})
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(c.MemoryLimit())
		debug.SetGCPercent(400) // batches die young; the limit holds all the same
	}
	app.Main("ingest", c.DrainTimeout, func(ctx context.Context) error { return ingest.Run(ctx, c) })
}

const description = `Follows Kafka: folds events into feature rows in Redis and copies them to history in
Postgres, each event exactly once. Several processes share the partitions.`
