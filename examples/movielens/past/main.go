// Command past writes the example's events as files of past events, one CSV for each source,
// with the times at which they happened:
//
//	go run ./examples/movielens/past DIR
//	onehop import ratings DIR/ratings.csv …
package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/internal/movielens"
)

type options struct {
	Dir         string `arg:"" help:"The folder to write to; it is made."`
	Definitions string `default:"examples/movielens/definitions" help:"The folder of the definitions."`
	Generated   int    `placeholder:"N" help:"Invent N ratings instead of using MovieLens."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Name("past"), kong.Description("Writes the example's events as files of past events, for onehop import."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "past:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	catalog, err := definition.Load(o.Definitions)
	if err != nil {
		return err
	}
	data, err := load(ctx, o.Generated, out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil { //nolint:gosec // nothing in it is secret
		return err
	}
	records := map[string][]events.Record{}
	for _, r := range events.Of(data) {
		records[r.Source] = append(records[r.Source], r)
	}
	for i := range catalog.Sources {
		source := &catalog.Sources[i]
		path := filepath.Join(o.Dir, source.Name+".csv")
		if err := write(path, source, records[source.Name]); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		fmt.Fprintf(out, "%s: %d events\n", path, len(records[source.Name]))
	}
	return nil
}

// invented is how many ratings are invented where MovieLens cannot be had.
const invented = 100_000

// load loads MovieLens, or invents ratings: n of them, where n is not 0.
func load(ctx context.Context, n int, out io.Writer) (*movielens.Dataset, error) {
	if n > 0 {
		return events.Generated(n), nil
	}
	data, err := movielens.Load(ctx)
	if errors.Is(err, movielens.ErrUnavailable) {
		fmt.Fprintf(out, "MovieLens cannot be had, so ratings are invented: %v\n", err)
		return events.Generated(invented), nil
	}
	return data, err
}

// write writes records as CSV: a column for each field of the source, empty where a record
// does not have it, lists as JSON.
func write(path string, source *featurestore.Source, records []events.Record) error {
	file, err := os.Create(path) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	w := csv.NewWriter(file)
	line := []string{"event_time"}
	for _, f := range source.Fields {
		line = append(line, f.Name)
	}
	err = w.Write(line)
	for i := range records {
		if err != nil {
			break
		}
		line[0] = time.UnixMicro(records[i].Time).UTC().Format(time.RFC3339Nano)
		if err = cells(records[i].Value, source.Fields, line[1:]); err == nil {
			err = w.Write(line)
		}
	}
	w.Flush()
	return errors.Join(err, w.Error(), file.Close())
}

// cells fills in the cells of a record's fields.
func cells(value []byte, fields []featurestore.Field, into []string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil {
		return err
	}
	for i, f := range fields {
		raw := members[f.Name]
		into[i] = string(raw)
		if f.Type != featurestore.String || raw == nil {
			continue
		}
		if err := json.Unmarshal(raw, &into[i]); err != nil {
			return err
		}
	}
	return nil
}
