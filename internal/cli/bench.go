package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/onehop/onehop/bench"
)

// benchCommand measures.
type benchCommand struct {
	Hop      benchHopCommand      `cmd:"" help:"GetFeaturesAndPredict: 1 user, 100 items, 64 columns, beside its floor."`
	Batch    benchBatchCommand    `cmd:"" help:"Dynamic batching: one-row requests to a model, with and without, and three times too many."`
	Cache    benchCacheCommand    `cmd:"" help:"The prediction cache: a model that takes a second, and a ranker whose requests never come again."`
	Ingest   benchIngestCommand   `cmd:"" help:"The ingest service: two views of three windows, beside its floor."`
	Training benchTrainingCommand `cmd:"" help:"Training sets over 10 million events in Postgres, beside their floors."`
}

type benchHopCommand struct {
	Duration    time.Duration `default:"5s" help:"How long each phase takes."`
	ONNXRuntime string        `name:"onnxruntime" env:"ONEHOP_ONNXRUNTIME" placeholder:"FILE" help:"ONNX Runtime's shared library; without it the system's, or the one that onehop setup fetched."`
	JSON        bool          `help:"Print one JSON object."`
}

// Run runs the command.
func (c *benchHopCommand) Run(ctx context.Context, s Streams) error {
	r, err := bench.Hop(ctx, bench.HopOptions{Duration: c.Duration, Library: c.ONNXRuntime, Progress: s.Err})
	if err != nil {
		return err
	}
	return writeResult(s.Out, c.JSON, r)
}

type benchBatchCommand struct {
	Duration    time.Duration `default:"5s" help:"How long each phase takes."`
	ONNXRuntime string        `name:"onnxruntime" env:"ONEHOP_ONNXRUNTIME" placeholder:"FILE" help:"ONNX Runtime's shared library; without it the system's, or the one that onehop setup fetched."`
	JSON        bool          `help:"Print one JSON object."`
}

// Run runs the command.
func (c *benchBatchCommand) Run(ctx context.Context, s Streams) error {
	r, err := bench.Batch(ctx, bench.BatchOptions{Duration: c.Duration, Library: c.ONNXRuntime, Progress: s.Err})
	if err != nil {
		return err
	}
	return writeResult(s.Out, c.JSON, r)
}

type benchCacheCommand struct {
	Duration    time.Duration `default:"5s" help:"How long each phase takes."`
	ONNXRuntime string        `name:"onnxruntime" env:"ONEHOP_ONNXRUNTIME" placeholder:"FILE" help:"ONNX Runtime's shared library; without it the system's, or the one that onehop setup fetched."`
	JSON        bool          `help:"Print one JSON object."`
}

// Run runs the command.
func (c *benchCacheCommand) Run(ctx context.Context, s Streams) error {
	r, err := bench.Cache(ctx, bench.HopOptions{Duration: c.Duration, Library: c.ONNXRuntime, Progress: s.Err})
	if err != nil {
		return err
	}
	return writeResult(s.Out, c.JSON, r)
}

type benchIngestCommand struct {
	Events int     `default:"2000000" help:"How many events are ingested."`
	Probes int     `default:"300" help:"How many single events are followed from Kafka to an answer."`
	Rate   float64 `default:"20000" help:"How many events a second flow meanwhile."`
	JSON   bool    `help:"Print one JSON object."`
}

// Run runs the command.
func (c *benchIngestCommand) Run(ctx context.Context, s Streams) error {
	r, err := bench.Ingest(ctx, bench.IngestOptions{Events: c.Events, Probes: c.Probes, Rate: c.Rate, Progress: s.Err})
	if err != nil {
		return err
	}
	return writeResult(s.Out, c.JSON, r)
}

type benchTrainingCommand struct {
	Events int  `default:"10000000" help:"How many events history holds."`
	Rows   int  `default:"200000" help:"How many rows the spine has."`
	JSON   bool `help:"Print one JSON object."`
}

// Run runs the command.
func (c *benchTrainingCommand) Run(ctx context.Context, s Streams) error {
	r, err := bench.Training(ctx, bench.TrainingOptions{Events: c.Events, Rows: c.Rows, Progress: s.Err})
	if err != nil {
		return err
	}
	return writeResult(s.Out, c.JSON, r)
}

// writeResult prints a result for a person or as one JSON object.
func writeResult(w io.Writer, asJSON bool, result interface{ Write(w io.Writer) }) error {
	if !asJSON {
		result.Write(w)
		return nil
	}
	if err := json.NewEncoder(w).Encode(result); err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	return nil
}
