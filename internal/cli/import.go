package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

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

Rows are checked by the rules by which records are accepted, and nothing of any file is imported when a row is not good or the command is
stopped. The same file adds nothing the second time, whatever its name.

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
	known, err := topicsOf(ctx, pool, c.Namespace, source.Name)
	if err != nil {
		return err
	}
	files, err := c.files(source, known)
	if err != nil {
		return err
	}
	if c.OnlyCheck {
		return c.check(ctx, s, files)
	}
	summaries, err := c.all(ctx, s, pool, catalog, source, files)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(s.Out, summaries)
	}
	for _, f := range summaries {
		if f.Before > 0 && f.Events == f.Before {
			fmt.Fprintf(s.Err, "%s: it is in history already, with %d events\n", f.File, f.Events)
			continue
		}
		fmt.Fprintf(s.Err, "%s: %d events imported in %.1f s", f.File, f.Events-f.Before, f.Seconds)
		if f.Before > 0 {
			fmt.Fprintf(s.Err, "; %d were imported before", f.Before)
		}
		fmt.Fprintln(s.Err)
	}
	fmt.Fprintln(s.Err, "Training sets have these events. Rows in Redis do not: they are folded from Kafka.")
	return nil
}

// errNothing is beside what went wrong.
var errNothing = errors.New("nothing was imported")

// files opens all files.
func (c *importCommand) files(source *featurestore.Source, known map[string]bool) ([]*transfer.File, error) {
	var files []*transfer.File
	var problems []error
	for _, name := range c.Files {
		f, err := transfer.Open(source, name, known)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		files = append(files, f)
	}
	if len(problems) > 0 {
		return nil, errors.Join(append(problems, errNothing)...)
	}
	return files, nil
}

// check reads all files and finds the first thing that is wrong with each.
func (c *importCommand) check(ctx context.Context, s Streams, files []*transfer.File) error {
	var problems []error
	for _, f := range files {
		report, finish := progress(s.Err, "checking "+f.Name, 0)
		events, err := f.Check(ctx, report)
		finish()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			fmt.Fprintf(s.Err, "%s: %d events, all good\n", f.Name, events)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// all imports the files.
func (c *importCommand) all(ctx context.Context, s Streams, pool *pgxpool.Pool, catalog *featurestore.Catalog, source *featurestore.Source, files []*transfer.File) ([]importSummary, error) {
	table, err := history.Open(ctx, pool, c.Namespace, source, catalog.Lookups(source.Name))
	if err != nil {
		return nil, err
	}
	stay := &patience{pool: pool, log: s.Err}
	var imported []transfer.Imported
	err = stay.try(ctx, func() error {
		show := &importProgress{log: s.Err}
		defer show.finish()
		imported, err = transfer.Import(ctx, c.Namespace, table, files, show.report)
		return err
	})
	switch {
	case errors.Is(err, ingest.ErrLost):
		err = fmt.Errorf("%w; somebody else is importing it: wait for that, and begin again", err)
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, errNothing)
	}
	summaries := make([]importSummary, len(imported))
	for i, f := range imported {
		summaries[i] = importSummary{File: f.Name, Events: f.Events, Before: f.Before, Seconds: f.Took.Seconds()}
	}
	return summaries, stay.try(ctx, func() error { return table.IndexAll(ctx) })
}

// importProgress shows how far the import of one file after the other is.
type importProgress struct {
	log  io.Writer
	file *transfer.File
	show func(done int)
	end  func()
}

func (p *importProgress) report(f *transfer.File, rows int) {
	if f != p.file {
		p.finish()
		p.file = f
		p.show, p.end = progress(p.log, "importing "+f.Name, 0)
	}
	p.show(rows)
}

func (p *importProgress) finish() {
	if p.end != nil {
		p.end()
	}
	p.end = nil
}
