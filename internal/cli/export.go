package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/transfer"
)

// exportCommand writes history to files.
type exportCommand struct {
	Source        string `arg:"" help:"The source whose events to write."`
	Out           string `required:"" placeholder:"DIR" help:"The directory; each source needs one of its own."`
	From          day    `placeholder:"DAY" help:"The first day of event times, as 2026-01-31, in UTC."`
	To            day    `placeholder:"DAY" help:"The day after the last."`
	Overwrite     bool   `help:"Write days again whose files have all events already."`
	Namespace     string `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	postgresFlags `embed:""`
	JSON          bool `name:"json" help:"Print the summary as JSON."`
}

// day is a flag's day in UTC.
type day struct {
	since1970 int64
	given     bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *day) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.DateOnly, string(text))
	if err != nil {
		return fmt.Errorf("%q is no day such as 2026-01-31", text)
	}
	d.since1970, d.given = t.Unix()/86_400, true
	return nil
}

// Help is printed by --help.
func (*exportCommand) Help() string {
	return `The events of a source become Parquet files that DuckDB, Spark and others read as they are: DIR/day=2026-01-31/part-0.parquet, by the
day of their event time in UTC. A file has its name when it is whole. Beside the fields it has event_time, record_time, where the event
came from, and whether it is a tombstone (deleted).

All files show history as it was at the beginning. A day whose file has as many events as history is left alone: to repeat the command
adds what is new, late events of days past among it. When Postgres goes away, it is waited for and the day is begun again.

Example:

    onehop export ratings --out lake/ratings --namespace movielens --postgres postgres://127.0.0.1/onehop`
}

// Check returns everything that is wrong with the flags.
func (c *exportCommand) Check() error {
	err := c.postgresFlags.Check()
	if c.From.given && c.To.given && c.From.since1970 >= c.To.since1970 {
		err = errors.Join(err, errors.New("--to must be after --from: it is the day after the last"))
	}
	return err
}

// exportSummary says what was done.
type exportSummary struct {
	Source  string  `json:"source"`
	Days    int     `json:"days"` // written
	Events  int64   `json:"events"`
	Skipped int     `json:"skipped"` // days whose files had all events
	Seconds float64 `json:"seconds"`
}

// Run exports.
func (c *exportCommand) Run(ctx context.Context, s Streams) error {
	began := time.Now()
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
	p := &pinned{patience: &patience{pool: pool, log: s.Err}, namespace: c.Namespace}
	defer p.close(ctx)
	summary := &exportSummary{Source: source.Name}
	if err := c.days(ctx, s.Err, p, source, summary); err != nil {
		return err
	}
	summary.Seconds = time.Since(began).Seconds()
	if c.JSON {
		return writeJSON(s.Out, summary)
	}
	fmt.Fprintf(s.Err, "%d events of %d days written to %s in %.1f s; %d days had all of theirs\n",
		summary.Events, summary.Days, c.Out, summary.Seconds, summary.Skipped)
	return nil
}

// days writes the days that are not written yet.
func (c *exportCommand) days(ctx context.Context, log io.Writer, p *pinned, source *featurestore.Source, summary *exportSummary) error {
	from, to := int64(0), history.AllDays
	if c.From.given {
		from = c.From.since1970
	}
	if c.To.given {
		to = c.To.since1970
	}
	var days []history.Day
	err := p.with(ctx, func(s *history.Snapshot) (err error) {
		days, err = s.Days(ctx, source.Name, from, to)
		return err
	})
	if err != nil {
		return err
	}
	x := transfer.NewExport(c.Namespace, source, c.Out)
	total := 0
	var todo []history.Day
	for _, d := range days {
		written, err := x.Written(d)
		if err != nil {
			return err
		}
		if written && !c.Overwrite {
			summary.Skipped++
			continue
		}
		todo, total = append(todo, d), total+int(d.Events)
	}
	report, finish := progress(log, "events", total)
	defer finish()
	for _, d := range todo {
		done := summary.Events
		x.Progress = func(events int) {
			done += int64(events)
			report(int(done))
		}
		err := p.with(ctx, func(s *history.Snapshot) error {
			done = summary.Events
			n, err := x.Day(ctx, s, d.Number)
			if err == nil {
				summary.Days, summary.Events = summary.Days+1, summary.Events+n
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("day %s: %w", transfer.DayText(d.Number), err)
		}
	}
	return nil
}

// sourceNamed finds a source.
func sourceNamed(catalog *featurestore.Catalog, name string) (*featurestore.Source, error) {
	if source := catalog.Source(name); source != nil {
		return source, nil
	}
	var names []string
	for i := range catalog.Sources {
		names = append(names, catalog.Sources[i].Name)
	}
	return nil, fmt.Errorf("namespace %s has no source %q; its sources are %s", catalog.Namespace, name, strings.Join(names, ", "))
}
