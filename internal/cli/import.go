package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/transfer"
)

// importCommand brings past events to history.
type importCommand struct {
	Source        string   `arg:"" help:"The source whose past events they are."`
	Files         []string `arg:"" name:"file" help:"CSV (.csv) or Parquet (.parquet)."`
	OnlyCheck     bool     `name:"check" help:"Only look whether the files are good."`
	Namespace     string   `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	postgresFlags `embed:""`
	JSON          bool `name:"json" help:"Print the summary as JSON."`
}

// Help is printed by --help.
func (*importCommand) Help() string {
	return `Events of before Onehop, from files, become part of history: training sets have them. The columns are named like the fields of the
source, in any order; event_time says when each event happened, and record_time, if it is there, when it became known. Times have a time
zone. Of CSV, an empty cell is null, bytes are base64 and lists JSON. What onehop export writes can be read.

Rows in Redis do not get these events: a view is filled from Kafka only.

All files are checked first, by the rules by which records are accepted, and nothing is imported when a row is not good. The same file
adds nothing the second time, whatever its name; one that was interrupted goes on where it was.

Example:

    onehop import ratings ratings-2024.parquet ratings-2025.parquet --namespace movielens --postgres postgres://127.0.0.1/onehop`
}

// importSummary says what came of a file.
type importSummary struct {
	File string `json:"file"`
	// Events is how many the file has, Before how many of them history had before.
	Events  int64   `json:"events"`
	Before  int64   `json:"before"`
	Seconds float64 `json:"seconds"`
}

// Run imports.
func (c *importCommand) Run(ctx context.Context, s Streams) error {
	pool, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	catalog, err := newest(ctx, pool, c.Namespace)
	if err != nil {
		return err
	}
	source, err := sourceNamed(catalog, c.Source)
	if err != nil {
		return err
	}
	if source.Name == featurestore.ServedSource {
		return errors.New("the serving log takes no imports: it is what was served, and nothing else")
	}
	files, err := c.check(ctx, s, source)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := refuseOwn(ctx, pool, c.Namespace, source.Name, f.Name); err != nil {
			return errors.Join(err, errors.New("nothing was imported"))
		}
	}
	summaries := make([]*importSummary, 0, len(files))
	if !c.OnlyCheck {
		if summaries, err = c.all(ctx, s, pool, catalog, source, files); err != nil {
			return err
		}
	}
	if c.JSON {
		return writeJSON(s.Out, summaries)
	}
	for _, f := range summaries {
		fmt.Fprintf(s.Err, "%s: %d events imported in %.1f s", f.File, f.Events-f.Before, f.Seconds)
		if f.Before > 0 {
			fmt.Fprintf(s.Err, "; %d were imported before", f.Before)
		}
		fmt.Fprintln(s.Err)
	}
	if !c.OnlyCheck {
		fmt.Fprintln(s.Err, "Training sets have these events. Rows in Redis do not: they are folded from Kafka.")
	}
	return nil
}

// check reads all files and finds everything that is wrong with them: the first thing of each.
func (c *importCommand) check(ctx context.Context, s Streams, source *featurestore.Source) ([]*transfer.File, error) {
	var files []*transfer.File
	var problems []error
	for _, name := range c.Files {
		report, finish := progress(s.Err, "checking "+name, 0)
		f, err := transfer.Check(ctx, source, name, report)
		finish()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if c.OnlyCheck {
			fmt.Fprintf(s.Err, "%s: %d events, all good\n", name, f.Rows)
		}
		files = append(files, f)
	}
	if len(problems) > 0 {
		return nil, errors.Join(append(problems, errors.New("nothing was imported"))...)
	}
	return files, nil
}

// all imports files that are good.
func (c *importCommand) all(ctx context.Context, s Streams, pool *pgxpool.Pool, catalog *featurestore.Catalog, source *featurestore.Source, files []*transfer.File) ([]*importSummary, error) {
	table, err := history.Open(ctx, pool, c.Namespace, source, catalog.Lookups(source.Name))
	if err != nil {
		return nil, err
	}
	stay := &patience{pool: pool, log: s.Err}
	var summaries []*importSummary
	for _, f := range files {
		summary, err := c.one(ctx, s, stay, table, f)
		if err != nil {
			return nil, err
		}
		summaries = append(summaries, summary)
	}
	return summaries, stay.try(ctx, func() error { return table.IndexAll(ctx) })
}

func (c *importCommand) one(ctx context.Context, s Streams, stay *patience, table *history.Table, f *transfer.File) (*importSummary, error) {
	began := time.Now()
	show, finish := progress(s.Err, "importing "+f.Name, int(f.Rows))
	defer finish()
	there := 0
	report := func(rows int) {
		there = rows
		show(rows)
	}
	summary := &importSummary{File: f.Name, Events: f.Rows, Before: -1}
	err := stay.try(ctx, func() error {
		before, err := f.Import(ctx, c.Namespace, table, report)
		if summary.Before < 0 { // what was there when it began
			summary.Before = before
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %d of %d events of %s are in history; import it again, and it goes on there", context.Cause(ctx), there, f.Rows, f.Name)
	}
	if errors.Is(err, ingest.ErrLost) {
		err = fmt.Errorf("somebody else is importing %s; wait for it, and begin again", f.Name)
	}
	summary.Seconds = time.Since(began).Seconds()
	return summary, err
}
