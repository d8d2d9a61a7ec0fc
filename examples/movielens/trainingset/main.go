// Command trainingset writes the example's training set as CSV: for each rating of
// MovieLens the features of its user and movie just before it, and whether the movie
// was liked. The features come from the fold that ingest and serve run, so there is
// no second implementation that training could disagree with.
//
//	go run ./examples/movielens/trainingset > training.csv
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/alecthomas/kong"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/internal/movielens"
)

type options struct {
	Definitions string `default:"examples/movielens/definitions" help:"The directory of the definitions."`
	Model       string `default:"movie_ranker" help:"The model to write a training set for."`
	Generated   int    `placeholder:"N" help:"Use N generated ratings instead of MovieLens."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Name("trainingset"), kong.Description("Writes the example's training set as CSV to standard output."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "trainingset:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out, progress io.Writer) error {
	catalog, err := definition.Load(o.Definitions)
	if err != nil {
		return err
	}
	data, err := load(ctx, o, progress)
	if err != nil {
		return err
	}
	b, err := newBuilder(catalog, o.Model)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(out, 1<<16)
	if err := b.write(ctx, buffered, events.Of(data), progress); err != nil {
		return err
	}
	return buffered.Flush()
}

func load(ctx context.Context, o options, progress io.Writer) (*movielens.Dataset, error) {
	if o.Generated > 0 {
		return events.Generated(o.Generated), nil
	}
	data, err := movielens.Load(ctx)
	if errors.Is(err, movielens.ErrUnavailable) {
		return nil, fmt.Errorf("%w; install pip, or add --generated=100000", err)
	}
	if err == nil && len(data.Ratings) > 0 {
		first, last := data.Ratings[0].Time, data.Ratings[len(data.Ratings)-1].Time
		_, err = fmt.Fprintf(progress, "%d ratings from %s to %s\n", len(data.Ratings),
			time.UnixMicro(first).UTC().Format(time.DateOnly), time.UnixMicro(last).UTC().Format(time.DateOnly))
	}
	return data, err
}
