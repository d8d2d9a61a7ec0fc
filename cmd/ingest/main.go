// Command ingest runs the ingest service; see package internal/app/ingest.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := ingest.Run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "ingest:", err)
		os.Exit(1)
	}
}

const description = `Follows Kafka: folds events into feature rows in Redis and copies them to history in
Postgres, each event exactly once. Several processes share the partitions.`
