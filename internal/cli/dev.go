package cli

import (
	"context"

	"github.com/onehop/onehop/internal/app/dev"
)

// devCommand runs everything.
type devCommand struct {
	dev.Config `embed:""`
}

// Help is printed by --help.
func (*devCommand) Help() string {
	return "Kafka, Redis and Postgres are started unless they are named, then ingest, serve and infer, on 127.0.0.1. What is " +
		"installed is used; the rest is fetched or, for Kafka, stands in within this process.\n\n" +
		"Examples:\n\n    onehop dev examples/movielens\n" +
		"    onehop dev examples/movielens --data ./state --redis redis://127.0.0.1:6379/0"
}

// Run runs until Ctrl-C.
func (c *devCommand) Run(ctx context.Context, s Streams) error {
	c.Out, c.Log = s.Out, s.Err
	return dev.Run(ctx, c.Config)
}
