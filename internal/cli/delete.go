package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/config"
)

// deleteCommand forgets one entity.
type deleteCommand struct {
	Entity        string   `arg:"" help:"Name of the entity, for example user."`
	Key           []string `arg:"" help:"Its key: one argument for each join key, in declared order. Bytes are written as base64:…"`
	Namespace     string   `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	config.Kafka  `embed:""`
	postgresFlags `embed:""`
	redisFlags    `embed:""`
	Wait          time.Duration `default:"1m" help:"How long ingest and history may take to get as far as each other."`
	DryRun        bool          `help:"Count what would be deleted, and delete nothing."`
	Yes           bool          `short:"y" env:"ONEHOP_YES" help:"Do not ask. Without a terminal nobody is asked."`
	JSON          bool          `name:"json" help:"Print JSON, and do not ask."`
}

// Help is printed by --help.
func (*deleteCommand) Help() string {
	return `For requests to be forgotten. In every source that has a view of the entity: a tombstone is written to the topic, where the source takes
tombstones; the entity's rows are deleted from Redis, and what its events have left in the rows of other entities is taken out of them;
its events are deleted from history; and what was deleted is written down in Postgres, in onehop.deletions. Ingest and serving go on.

Kafka keeps the records themselves until its retention drops them; the output says when that is. If Redis is lost and filled from
Kafka before that, they come back, unless the source takes tombstones and is keyed by the entity: delete again then. Backups of
Postgres, files that were exported and training sets that were made are not reached.

Events that arrive later begin the entity anew.

Example:

    onehop delete-entity user 196 --dry-run --namespace movielens --kafka 127.0.0.1:9092 --redis redis://127.0.0.1:6379/0 --postgres postgres://127.0.0.1/onehop`
}

// Check returns everything that is wrong with the flags.
func (c *deleteCommand) Check() error {
	err := errors.Join(c.Kafka.Check(), c.postgresFlags.Check(), c.redisFlags.Check())
	if c.Wait <= 0 || c.Wait > time.Hour {
		err = errors.Join(err, fmt.Errorf("--wait: %s is not between 0 and 1h", c.Wait))
	}
	return err
}

// Run deletes.
func (c *deleteCommand) Run(ctx context.Context, s Streams) (err error) {
	pool, err := c.postgresFlags.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	versions, err := registry.New(pool, c.Namespace).Versions(ctx)
	if err != nil {
		return err
	}
	catalog, err := newest(ctx, pool, c.Namespace)
	if err != nil {
		return err
	}
	inspect := &inspectCommand{Entity: c.Entity, Key: c.Key}
	entity, key, err := inspect.entity(catalog)
	if err != nil {
		return err
	}
	if !c.DryRun && !c.JSON {
		question := fmt.Sprintf("Delete everything that is known of %s %s?", entity.Name, featurestore.KeyText(key))
		if err := confirm(ctx, s, c.Yes, question, "nothing was deleted"); err != nil {
			return err
		}
	}
	client, store, err := c.redisFlags.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	kafka, err := kgo.NewClient(kgo.SeedBrokers(c.Kafka.Kafka...), kgo.ClientID("onehop-delete"), kgo.RecordDeliveryTimeout(connectTimeout))
	if err != nil {
		return fmt.Errorf("--kafka: %w", err)
	}
	defer kafka.Close()
	d := &deletion{
		forgetter: &maintain.Forgetter{Pool: pool, Store: store, Catalogs: versions, Wait: c.Wait, DryRun: c.DryRun},
		pool:      pool, kafka: kafka, catalog: catalog, entity: entity, key: key,
	}
	results, err := d.all(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(s.Out, results)
	}
	c.tell(s, results)
	return nil
}

// tell prints what was deleted.
func (c *deleteCommand) tell(s Streams, results []history.Deletion) {
	t := newTable(s.Out)
	t.row("source", "events", "rows deleted", "rows of others", "tombstone", "Kafka keeps the records")
	for _, r := range results {
		tombstone, until := "no", "for ever"
		if r.Tombstone {
			tombstone = "yes"
		}
		if r.KafkaUntil != nil {
			until = "until " + r.KafkaUntil.UTC().Format(time.RFC3339)
		}
		t.row(r.Source, strconv.FormatInt(r.Events, 10), strconv.Itoa(r.RowsDeleted), strconv.Itoa(r.RowsRewritten), tombstone, until)
	}
	t.flush()
	if c.DryRun {
		fmt.Fprintln(s.Out, "Nothing was deleted: --dry-run.")
	}
}

// deletion deletes one entity, source by source.
type deletion struct {
	forgetter *maintain.Forgetter
	pool      *pgxpool.Pool
	kafka     *kgo.Client
	catalog   *featurestore.Catalog
	entity    *featurestore.Entity
	key       []byte
}

func (d *deletion) all(ctx context.Context) ([]history.Deletion, error) {
	values, err := d.entity.ParseKey(d.key)
	if err != nil {
		return nil, err
	}
	results := []history.Deletion{}
	for i := range d.catalog.Sources {
		source := &d.catalog.Sources[i]
		if !slices.ContainsFunc(d.catalog.ViewsOf(source.Name), func(v *featurestore.View) bool { return v.Entity == d.entity.Name }) {
			continue
		}
		record, err := d.source(ctx, source, values)
		if err != nil {
			return nil, fmt.Errorf("source %q: %w", source.Name, err)
		}
		results = append(results, *record)
	}
	if len(results) > 0 {
		if results, err = d.served(ctx, results); err != nil {
			return nil, err
		}
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("no view of namespace %s is of entity %q: nothing is known of it", d.catalog.Namespace, d.entity.Name)
	}
	return results, nil
}

// served deletes the entity's vectors from the serving log, if there are any.
func (d *deletion) served(ctx context.Context, results []history.Deletion) ([]history.Deletion, error) {
	vectors, err := history.ForgetServed(ctx, d.pool, d.catalog.Namespace, d.entity.Name, d.key, d.forgetter.DryRun)
	if err != nil || vectors == 0 {
		return results, err
	}
	result := d.record(featurestore.ServedSource)
	result.Events = vectors
	if source := d.catalog.Source(featurestore.ServedSource); source != nil {
		if result.KafkaUntil, err = d.keptUntil(ctx, source); err != nil {
			return nil, err
		}
	}
	return append(results, *result), nil
}

// record is that of a source of which nothing is deleted yet.
func (d *deletion) record(source string) *history.Deletion {
	return &history.Deletion{Source: source, Entity: d.entity.Name, Key: featurestore.KeyText(d.key)}
}

// keptUntil is when Kafka has dropped what a source's topic has now, nil for never.
func (d *deletion) keptUntil(ctx context.Context, source *featurestore.Source) (*time.Time, error) {
	keeps, ends, err := stream.Keeps(ctx, d.kafka, source.Topic)
	if err != nil || !ends {
		return nil, err
	}
	until := time.Now().Add(keeps).Truncate(time.Second)
	return &until, nil
}

// source deletes what one source told.
func (d *deletion) source(ctx context.Context, source *featurestore.Source, values []featurestore.Value) (record *history.Deletion, err error) {
	record = d.record(source.Name)
	if record.KafkaUntil, err = d.keptUntil(ctx, source); err != nil {
		return nil, err
	}
	switch {
	case d.forgetter.DryRun:
		record.Tombstone = source.Deletes
	case source.Deletes:
		if err := record.Begin(ctx, d.pool, d.catalog.Namespace); err != nil {
			return nil, err
		}
		if err := d.tombstone(ctx, source, record); err != nil {
			return nil, errors.Join(err, record.Stopped(ctx, d.pool))
		}
	}
	return record, d.forgetter.Source(ctx, source, d.entity, values, record)
}

// tombstone writes a tombstone, and waits until history has it.
func (d *deletion) tombstone(ctx context.Context, source *featurestore.Source, record *history.Deletion) error {
	place, err := stream.NewProducer(d.kafka).Tombstone(ctx, source.Topic, d.key)
	if err != nil {
		return err
	}
	record.Tombstone = true
	topic, _, err := stream.Logs(ctx, d.kafka, source.Topic)
	if err != nil {
		return err
	}
	return d.forgetter.Reached(ctx, source, ingest.PartitionID{Topic: topic, Partition: place.Partition}, place.Offset+1)
}
