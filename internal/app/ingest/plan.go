package ingest

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/stream"
)

// consumerPlan is what the consumers of one set of definitions do.
type consumerPlan struct {
	online, history []stream.Topic
	tables          []*lazyTable
	views           []*ingest.View
	// gone are the views that are left out because Kafka no longer has events of theirs.
	gone []*ingest.View
	// keepsOld says that a generation is folded beside the one that will replace it.
	keepsOld bool
}

// plan says which topics to follow, and how, for the newest of the versions.
func (s *service) plan(ctx context.Context, versions []*featurestore.Catalog) (*consumerPlan, error) {
	newest := versions[len(versions)-1]
	p := &consumerPlan{}
	s.metrics.gone.Reset()
	folded := 0 // sources that fill views, which share the cache of hot rows
	for i := range newest.Sources {
		folded += min(1, len(newest.ViewsOf(newest.Sources[i].Name)))
	}
	for i := range newest.Sources {
		source := &newest.Sources[i]
		if err := s.makeTopics(ctx, source); err != nil {
			return nil, err
		}
		id, logs, err := stream.Logs(ctx, s.kafka, source.Topic)
		if err != nil {
			return nil, err
		}
		views, keepsOld, err := s.views(ctx, versions, source)
		if err != nil {
			return nil, err
		}
		views, gone, err := s.possible(ctx, views, source.Topic, id, logs)
		if err != nil {
			return nil, err
		}
		p.gone = append(p.gone, gone...)
		p.keepsOld = p.keepsOld || keepsOld
		hot := ingest.NewHotRows(views, s.config.cacheBytes()/max(1, folded))
		p.views = append(p.views, views...)
		topic := stream.Topic{Name: source.Topic, Source: source.Name, Versions: stream.Versions(versions, source.Name)}
		topic.NewWorker = func(id ingest.PartitionID) stream.Worker {
			return &onlineWorker{service: s, source: source, id: id, views: views, partition: ingest.NewPartition(s.Store, id, hot)}
		}
		if len(views) > 0 {
			p.online = append(p.online, topic)
		}
		table := &lazyTable{service: s, source: source, keys: newest.Lookups(source.Name)}
		topic.NewWorker = func(id ingest.PartitionID) stream.Worker { return &historyWorker{table: table, id: id} }
		p.history, p.tables = append(p.history, topic), append(p.tables, table)
	}
	return p, nil
}

// makeTopics makes the topics that are not there yet. But for the serving log they keep their records: a view is
// filled from the start of its topic, and the broker would delete a replay of the past by
// its old timestamps.
func (s *service) makeTopics(ctx context.Context, source *featurestore.Source) error {
	retention := "-1"
	if source.Name == featurestore.ServedSource { // which fills no view, and grows with the requests
		retention = strconv.FormatInt(source.Retention.Milliseconds(), 10)
	}
	keep := map[string]string{"retention.ms": retention, "max.message.bytes": strconv.Itoa(2 * featurestore.MaxEventBytes)}
	if err := stream.EnsureTopic(ctx, s.kafka, source.Topic, s.config.Partitions, keep); err != nil {
		return fmt.Errorf("source %q: %w", source.Name, err)
	}
	return stream.EnsureTopic(ctx, s.kafka, stream.DeadLetterTopic(source), 1, keep)
}

// views lists the generations to fold from a source: those of the newest definitions,
// and beside each that is not live yet the one before it, which is still served.
func (s *service) views(ctx context.Context, versions []*featurestore.Catalog, source *featurestore.Source) (views []*ingest.View, keepsOld bool, err error) {
	newest := versions[len(versions)-1]
	for _, view := range newest.ViewsOf(source.Name) {
		v, err := ingest.NewView(newest, view)
		if err != nil {
			return nil, false, fmt.Errorf("the stored definitions: %w", err)
		}
		views = append(views, v)
		if s.live(ctx, newest.Namespace, view) {
			continue
		}
		earlier, before := s.served(ctx, versions[:len(versions)-1], view)
		if before == nil {
			continue
		}
		old, err := oldView(earlier, newest, before)
		if err != nil { // it stays as it is
			s.Log.Warn("a generation is served without new events until the next one is filled", "view", view.Name, "generation", before.Generation, "error", err)
			continue
		}
		views, keepsOld = append(views, old), true
	}
	return views, keepsOld, nil
}

// served finds the newest earlier generation of a view that is live, and the definitions
// that it is of; nil if there is none.
func (s *service) served(ctx context.Context, versions []*featurestore.Catalog, view *featurestore.View) (*featurestore.Catalog, *featurestore.View) {
	for _, c := range slices.Backward(versions) {
		before := c.View(view.Name)
		if before != nil && before.Generation != view.Generation && s.live(ctx, c.Namespace, before) {
			return c, before
		}
	}
	return nil, nil
}

// oldView is a generation of earlier definitions, folded from events in the layout of
// the newest. It fails when the newest source would make other rows of it.
func oldView(earlier, newest *featurestore.Catalog, view *featurestore.View) (*ingest.View, error) {
	was, err := ingest.NewView(earlier, view)
	if err != nil {
		return nil, err
	}
	now, err := ingest.NewView(newest, view)
	if err != nil {
		return nil, err
	}
	if was.Program.Fingerprint() != now.Program.Fingerprint() {
		return nil, fmt.Errorf("source %q changed a field that it needs", view.Source)
	}
	return now, nil
}

// live says whether a generation is live; not, when Redis does not answer.
func (s *service) live(ctx context.Context, namespace string, view *featurestore.View) bool {
	live, err := s.Store.Live(ctx, online.NewView(namespace, view))
	return err == nil && live
}

func (s *service) allLive(ctx context.Context, catalog *featurestore.Catalog) bool {
	for i := range catalog.Views {
		if !s.live(ctx, catalog.Namespace, &catalog.Views[i]) {
			return false
		}
	}
	return true
}

// lazyTable opens the table of a source when Postgres first answers.
type lazyTable struct {
	service *service
	source  *featurestore.Source
	keys    [][]string
	table   *history.Table
}
