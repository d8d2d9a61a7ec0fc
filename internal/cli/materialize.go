package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/materialize"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/config"
)

// materializeCommand brings rows that are computed elsewhere to the topic of a batch source.
type materializeCommand struct {
	Source        string `arg:"" help:"The batch source."`
	Since         string `placeholder:"TIME" help:"Read again from this time on: 24h, or a time such as 2026-01-02T15:04:05Z. Rows that were written before are written a second time."`
	Until         string `placeholder:"TIME" help:"Read up to this time: 10m for ten minutes ago, or a time; by default now."`
	SQL           string `name:"sql" env:"ONEHOP_SQL" placeholder:"URL" help:"Postgres with the table, where that is not the one of --postgres."`
	Files         string `type:"path" placeholder:"DIR" help:"Where relative names of files begin; by default here."`
	DryRun        bool   `help:"Read and check all rows, and write none."`
	Namespace     string `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	config.Kafka  `embed:""`
	postgresFlags `embed:""`
	Partitions    int32         `env:"ONEHOP_PARTITIONS" default:"4" help:"Partitions of the topic, where it is not there yet and is made."`
	Deadline      time.Duration `default:"12h" help:"How long it may take. What was committed by then stays, and the next run goes on from there."`
	JSON          bool          `name:"json" help:"Print the summary as JSON."`
}

// Help is printed by --help.
func (*materializeCommand) Help() string {
	return `Reads the rows of a batch source, a table or a query of Postgres or files, and writes those that are new to the source's topic. From
there on they are events like any other: online rows, history and training sets have them.

New are the rows with an event time after that of the last row that was written, up to --until. Each is written once, whatever crashes
and however many runs there are at once: the topic itself says, in the transaction that wrote the rows, how far they got. So a row
must get a later event time when it changes, and a row that appears with an earlier one is not seen: --since reads again.

Example:

    onehop materialize profiles --namespace shop --postgres postgres://127.0.0.1/onehop --sql postgres://127.0.0.1/warehouse --kafka 127.0.0.1:9092`
}

// Check returns everything that is wrong with the flags.
func (c *materializeCommand) Check() error {
	now := time.Now()
	since, err := moment("--since", c.Since, now)
	until, wrong := moment("--until", c.Until, now)
	err = errors.Join(err, wrong, c.Kafka.Check(), c.postgresFlags.Check())
	if c.Until != "" && since.After(until) || since.After(now) {
		err = errors.Join(err, errors.New("--since must be before --until, which is now by default"))
	}
	if until.After(now) {
		err = errors.Join(err, errors.New("--until is in the future: rows are written when their time has come"))
	}
	if c.SQL != "" {
		err = errors.Join(err, config.CheckURL("--sql", c.SQL, "postgres", "postgresql"))
	}
	if c.Partitions < 1 || c.Deadline <= 0 {
		err = errors.Join(err, errors.New("--partitions and --deadline must be more than 0"))
	}
	return err
}

// materializeSummary says what was done.
type materializeSummary struct {
	Source string `json:"source"`
	DryRun bool   `json:"dry_run,omitempty"`
	Rows   int64  `json:"rows"`
	// After and Until are the event times between which rows were looked for, Last is that of the
	// last row that there is.
	After   string  `json:"after,omitempty"`
	Until   string  `json:"until"`
	Last    string  `json:"last,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Run materializes.
func (c *materializeCommand) Run(ctx context.Context, s Streams) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Deadline, fmt.Errorf("it took longer than --deadline %s", c.Deadline))
	defer cancel()
	err := c.run(ctx, s)
	if deadline, _ := ctx.Deadline(); err != nil && !time.Now().Before(deadline) {
		<-ctx.Done() // a dial may see the deadline before the context does
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

func (c *materializeCommand) run(ctx context.Context, s Streams) error {
	began := time.Now()
	pool, catalog, err := c.definitions(ctx, c.Namespace)
	if err != nil {
		return err
	}
	defer pool.Close()
	source, err := sourceNamed(catalog, c.Source)
	if err != nil {
		return err
	}
	if source.Batch == nil {
		return fmt.Errorf("source %q is no batch source: others write its topic %s; one has \"batch\" in its definition", source.Name, source.Topic)
	}
	if err := waitForEffect(ctx, s.Err, catalog.Version, catalog.EffectiveAt); err != nil {
		return err
	}
	from, err := c.rowsFrom(ctx, pool, source)
	if err != nil {
		return err
	}
	if from != pool {
		defer from.Close()
	}
	summary := &materializeSummary{Source: source.Name, DryRun: c.DryRun}
	m := &materializing{materializeCommand: c, log: s.Err, from: from, catalog: catalog, source: source, summary: summary}
	err = m.all(ctx)
	summary.Seconds = time.Since(began).Seconds()
	if err != nil {
		return fmt.Errorf("%d rows written: %w", summary.Rows, err)
	}
	return c.tell(s, summary)
}

// rowsFrom is the Postgres with the rows.
func (c *materializeCommand) rowsFrom(ctx context.Context, definitions *pgxpool.Pool, source *featurestore.Source) (*pgxpool.Pool, error) {
	if c.SQL == "" || source.Batch.Files != "" {
		return definitions, nil
	}
	pool, err := app.OpenPool(ctx, c.SQL, nil, app.CancelQueries)
	if err != nil {
		return nil, errors.New("--sql: the URL is not valid")
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("cannot use the Postgres with the rows: is it running, and does --sql name it? %w", err)
	}
	return pool, nil
}

// openTopic is how far the rows were written, and what writes more of them; nil in a dry run.
func (c *materializeCommand) openTopic(ctx context.Context, source *featurestore.Source, options []kgo.Opt) (stream.Reached, *stream.BatchWriter, error) {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return stream.Reached{}, nil, fmt.Errorf("the Kafka client: %w", err)
	}
	defer client.Close()
	within, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := client.Ping(within); err != nil {
		return stream.Reached{}, nil, fmt.Errorf("cannot use Kafka: is it running, and does --kafka (ONEHOP_KAFKA) name it? %w", err)
	}
	if c.DryRun {
		reached, err := stream.ReadReached(ctx, client, source.Topic, options)
		return reached, nil, err
	}
	writer, err := stream.NewBatchWriter(ctx, source, c.Partitions, options)
	if err != nil {
		return stream.Reached{}, nil, err
	}
	return writer.Reached(), writer, nil
}

// span are the event times of the rows to write: those of rows older than max_age are left out,
// as their records would be refused.
func (c *materializeCommand) span(source *featurestore.Source, reached int64) materialize.Span {
	now := time.Now()
	span := materialize.Span{After: reached, Until: now.UnixMicro()}
	if c.Since != "" {
		since, _ := moment("", c.Since, now) // was checked
		span.After = since.UnixMicro() - 1
	}
	if c.Until != "" {
		until, _ := moment("", c.Until, now)
		span.Until = until.UnixMicro()
	}
	span.After = max(span.After, 0, now.Add(-source.MaxAge).UnixMicro())
	return span
}

func (c *materializeCommand) tell(s Streams, summary *materializeSummary) error {
	if c.JSON {
		return writeJSON(s.Out, summary)
	}
	did := "written"
	if c.DryRun {
		did = "would be written"
	}
	last := ""
	if summary.Last != "" {
		last = "; the last row is of " + summary.Last
	}
	return line(s.Out, "%d rows of source %s %s in %.1f s%s", summary.Rows, summary.Source, did, summary.Seconds, last)
}

func line(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintf(w, format+"\n", args...)
	return err
}

func timeOrNone(us int64) string {
	if us == 0 {
		return ""
	}
	return featurestore.FormatTime(us)
}

// moment is a time: how long ago, or when; flag is its name.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if age, err := time.ParseDuration(text); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	at, err := featurestore.ParseTime(text)
	if err != nil || at.UnixMicro() <= 0 {
		return at, fmt.Errorf("%s: %q is neither a duration such as 24h nor a time such as 2026-01-02T15:04:05Z", flag, text)
	}
	return at, nil
}
