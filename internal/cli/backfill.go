package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/config"
)

// backfillCommand fills views from history.
type backfillCommand struct {
	View          []string `arg:"" help:"The views to fill."`
	Namespace     string   `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	config.Kafka  `embed:""`
	postgresFlags `embed:""`
	redisFlags    `embed:""`
	JSON          bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*backfillCommand) Help() string {
	return `A view that is new, changed, or lost by Redis is filled by ingest, from Kafka. Where Kafka no longer has its first events, ingest leaves
the view out, with an alarm, and the generation before it stays in service. This command then computes its rows from history, up to
where history goes; ingest takes the view up from there within ten seconds, and it comes into service when it has caught up.

Nobody is served a view that is half filled, and views in service go on. A run that was stopped leaves the view out of service; run it
again, and it goes on where it was. If Redis lost what it had written, it says so, or begins anew. To go back to what was before, apply the
definitions of before.

Example:

    onehop backfill user_ratings --namespace movielens --kafka 127.0.0.1:9092 --redis redis://127.0.0.1:6379/0 --postgres postgres://127.0.0.1/onehop`
}

// Check returns everything that is wrong with the flags.
func (c *backfillCommand) Check() error {
	return errors.Join(c.Kafka.Check(), c.postgresFlags.Check(), c.redisFlags.Check())
}

// Run fills.
func (c *backfillCommand) Run(ctx context.Context, s Streams) (err error) {
	pool, catalog, err := c.definitions(ctx, c.Namespace)
	if err != nil {
		return err
	}
	defer pool.Close()
	views, err := viewsNamed(catalog, c.View)
	if err != nil {
		return err
	}
	client, store, err := c.redisFlags.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	kafka, err := kgo.NewClient(kgo.SeedBrokers(c.Kafka.Kafka...), kgo.ClientID("onehop-backfill"))
	if err != nil {
		return fmt.Errorf("--kafka: %w", err)
	}
	defer kafka.Close()
	b := &maintain.Backfill{Pool: pool, Store: store, Catalog: catalog, Newest: func(ctx context.Context) (*featurestore.Catalog, error) {
		return newest(ctx, pool, c.Namespace)
	}}
	var results []*maintain.Filled
	for _, view := range views {
		filled, err := fill(ctx, s.Err, b, kafka, view)
		if err != nil {
			return err
		}
		results = append(results, filled)
	}
	if c.JSON {
		return writeJSON(s.Out, results)
	}
	t := newTable(s.Out)
	t.row("view", "entities", "events", "records left to ingest")
	for _, r := range results {
		name := fmt.Sprintf("%s@%d", r.View, r.Generation)
		if r.Resumed {
			name += " (went on)"
		}
		t.row(name, strconv.Itoa(r.Entities), strconv.FormatInt(r.Events, 10), strconv.FormatInt(r.Behind, 10))
	}
	t.flush()
	return nil
}

func fill(ctx context.Context, log io.Writer, b *maintain.Backfill, kafka *kgo.Client, view *featurestore.View) (*maintain.Filled, error) {
	done := 0
	report, finish := progress(log, "filling "+view.Name+": entities", 0)
	defer finish()
	b.Progress = func(entities int) {
		done += entities
		report(done)
	}
	return b.View(ctx, view, func(ctx context.Context) (featurestore.TopicID, map[int32]ingest.Offsets, error) {
		return stream.Logs(ctx, kafka, b.Catalog.Source(view.Source).Topic)
	})
}
