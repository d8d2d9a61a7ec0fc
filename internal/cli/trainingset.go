package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	featureplan "github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/featurestore/training/query"
	featuretable "github.com/onehop/onehop/featurestore/training/table"
)

// trainingSetCommand makes a training set.
type trainingSetCommand struct {
	Spine         string    `placeholder:"FILE" help:"The spine: a file with a row for each example. - is CSV on the standard input."`
	SQL           string    `name:"sql" placeholder:"QUERY" help:"A query whose rows are the spine, run in the Postgres of --postgres; it can write nothing."`
	FromLog       string    `name:"from-log" placeholder:"NAME" help:"In place of a spine: the vectors that this feature service or model gave, from the serving log."`
	Since         time.Time `placeholder:"TIME" help:"With --from-log: vectors that were read from this time on, RFC 3339."`
	Until         time.Time `placeholder:"TIME" help:"With --from-log: vectors that were read before this time."`
	Scores        bool      `help:"With --from-log: add the model's score."`
	Features      []string  `sep:"," placeholder:"VIEW.FEATURE" help:"Features, in the order of their columns; view.* is all of a view."`
	Service       string    `placeholder:"NAME" help:"The features of this feature service."`
	Out           string    `default:"-" placeholder:"FILE" help:"Where the training set goes; - is CSV on the standard output."`
	TimeColumn    string    `default:"event_time" placeholder:"NAME" help:"The spine's column of times."`
	Available     bool      `help:"Count only events that had arrived at each row's time."`
	Statuses      bool      `help:"Add a column view.feature.status for each feature."`
	EventTimes    bool      `help:"Add a column view.feature.event_time for each feature: when its newest event was."`
	Namespace     string    `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	postgresFlags `embed:""`
	JSON          bool `name:"json" help:"Print the summary as JSON; needs --out."`
}

// Help is printed by --help.
func (*trainingSetCommand) Help() string {
	return `To each row of a spine, which has keys of entities and a time, the values are added that features had at that time: of the events
before it, and of no later one. The features are those of the newest definitions; docs/training.md teaches the rest.

The spine has a column for each join key, named like it, and a column of times, with a time zone; its other columns go through as they
are. Files are CSV (.csv), Parquet (.parquet), Arrow files (.arrow, .feather) and Arrow streams (.arrows). Of --sql, integers
become int64, numeric becomes float64, timestamptz a timestamp in UTC; types without a counterpart become text.

A file appears under its name when it is whole. When Postgres goes away, it is waited for and the work goes on where it was.

Examples:

    onehop training-set --spine clicks.csv --service ranking --out train.parquet --postgres postgres://127.0.0.1/onehop
    onehop training-set --from-log ranking --since 2026-01-01T00:00:00Z --out served.parquet
    onehop training-set --sql "SELECT user_id, rated_at AS event_time, stars FROM labels" --features user_ratings.* --out train.csv`
}

// Check returns everything that is wrong with the flags.
func (c *trainingSetCommand) Check() error {
	problems := []error{c.postgresFlags.Check(), c.checkLog()}
	if c.FromLog == "" && (c.Spine == "") == (c.SQL == "") {
		problems = append(problems, errors.New("give the spine: --spine or --sql; or --from-log"))
	}
	if c.FromLog == "" && (len(c.Features) == 0) == (c.Service == "") {
		problems = append(problems, errors.New("say which features: --features or --service"))
	}
	if c.Spine != "" {
		problems = append(problems, flagError("--spine", files.Check(c.Spine)))
	}
	problems = append(problems, flagError("--out", files.Check(c.Out)))
	if c.JSON && c.Out == files.Std {
		problems = append(problems, errors.New("--json needs --out: the standard output has the rows"))
	}
	return errors.Join(problems...)
}

func flagError(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// garbagePercent is how much garbage there may be, in percent of what is in use, which is
// large arrays: twice their size would be most of the memory that the command takes.
const garbagePercent = 25

// Run makes the training set.
func (c *trainingSetCommand) Run(ctx context.Context, s Streams) error {
	if c.FromLog != "" {
		return c.fromLog(ctx, s)
	}
	began := time.Now()
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	pool, catalog, err := c.definitions(ctx, c.Namespace)
	if err != nil {
		return err
	}
	defer pool.Close()
	join, err := compileJoin(catalog, c.Features, c.Service)
	if err != nil {
		return err
	}
	stay := &patience{pool: pool, log: s.Err}
	spine, err := c.spine(ctx, s, pool, stay, join.Plan())
	if err != nil {
		return err
	}
	defer func() { _ = spine.Close() }() // it was only read
	summary := newTrainingSummary(catalog, join.Plan())
	if err := c.write(ctx, s, &trainer{pinned: pinned{patience: stay, namespace: c.Namespace}}, join, spine, summary); err != nil {
		return err
	}
	summary.Seconds = time.Since(began).Seconds()
	if c.JSON {
		return writeJSON(s.Out, summary)
	}
	summary.write(s.Err)
	return nil
}

// compileJoin compiles the features that are asked for: by name, or those of a service.
func compileJoin(catalog *featurestore.Catalog, features []string, name string) (*training.Join, error) {
	var refs []featurestore.Ref
	if name != "" {
		service := catalog.Service(name)
		if service == nil {
			return nil, fmt.Errorf("--service: there is no feature service %q", name)
		}
		refs = service.Columns
	} else {
		var err error
		if refs, err = featureplan.Expand(catalog, features); err != nil {
			return nil, fmt.Errorf("--features: %w", err)
		}
	}
	programs, err := featureplan.Programs(catalog)
	if err != nil {
		return nil, fmt.Errorf("the stored definitions: %w", err)
	}
	p, err := featureplan.Compile(catalog, programs, refs)
	if err != nil {
		return nil, err
	}
	return training.NewJoin(p, programs), nil
}

// spine opens the spine. Rows of a query are kept in a temporary file first: the same ones
// are then joined, whatever happens to Postgres meanwhile.
func (c *trainingSetCommand) spine(ctx context.Context, s Streams, pool *pgxpool.Pool, stay *patience, p *featureplan.Plan) (*files.Reader, error) {
	if c.SQL == "" {
		return files.Open(ctx, c.Spine, s.In, featuretable.Columns(p, c.TimeColumn))
	}
	var spine *files.Reader
	err := stay.try(ctx, func() error {
		rows, err := query.Open(ctx, pool, c.SQL)
		if err != nil {
			return err
		}
		defer rows.Close(ctx)
		report, finish := quietProgress(s.Err, "rows of the spine")
		defer finish()
		spine, err = files.Spool(rows, report)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("--sql: %w", err)
	}
	return spine, nil
}

// write joins the spine and writes the training set.
func (c *trainingSetCommand) write(ctx context.Context, s Streams, t *trainer, join *training.Join, spine *files.Reader, summary *trainingSummary) error {
	if c.Spine != "" {
		t.of = " " + c.Spine
	}
	report, finish := progress(s.Err, "rows", int(spine.Rows()))
	defer finish()
	t.report, t.views = report, len(join.Plan().Views)
	var err error
	t.table, err = featuretable.New(join, spine.Schema(), featuretable.Options{
		TimeColumn: c.TimeColumn, Available: c.Available, Statuses: c.Statuses, EventTimes: c.EventTimes, Progress: t.progress,
	})
	if err != nil {
		return fmt.Errorf("the spine%s: %w", t.of, err)
	}
	out, err := files.Create(c.Out, s.Out, t.table.Schema())
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer out.Abort()
	if err := t.all(ctx, spine, out.Write, summary); err != nil {
		return err
	}
	return out.Commit()
}
