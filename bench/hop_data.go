package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

// The workload of [Hop].
const (
	hopUsers, hopCatalog, hopItems = 200, 2000, 100
	hopColumns, hopWindows         = 64, 24
	hopEvents                      = 40 // of each user and item, in the last 20 tiles
)

// hopDefinitions are the views: for users and items each a view with four aggregates over
// three windows of twenty hops, and a profile of latest values; and models that read them all.
func hopDefinitions(models []hopModel) string {
	var b strings.Builder
	b.WriteString(`
namespace: bench
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
  - {name: item, keys: [{name: item_id, type: int64}]}
sources:
`)
	for _, side := range []string{"user", "item"} {
		fmt.Fprintf(&b, "  - name: %s_events\n    format: json\n    event_time: {field: at, unit: us}\n    fields:\n      - {name: %s_id, type: int64, required: true}\n      - {name: rating, type: float64, required: true}\n", side, side)
		for i := range profileColumns(side) {
			fmt.Fprintf(&b, "      - {name: p%d, type: float64, required: true}\n", i)
		}
	}
	b.WriteString("views:\n")
	for _, side := range []string{"user", "item"} {
		windows := "[{length: 20m, hop: 1m}, {length: 100m, hop: 5m}, {length: 300m, hop: 15m}]"
		fmt.Fprintf(&b, "  - name: %s_stats\n    entity: %s\n    source: %s_events\n    near_cache: 10s\n    features:\n", side, side, side)
		fmt.Fprintf(&b, "      - {name: count, aggregate: count, windows: %s}\n", windows)
		for _, agg := range []string{"mean", "min", "max"} {
			fmt.Fprintf(&b, "      - {name: %s, aggregate: %s, field: rating, windows: %s}\n", agg, agg, windows)
		}
		fmt.Fprintf(&b, "  - name: %s_profile\n    entity: %s\n    source: %s_events\n    near_cache: 10s\n    features:\n", side, side, side)
		for i := range profileColumns(side) {
			fmt.Fprintf(&b, "      - {name: p%d, aggregate: latest, field: p%d}\n", i, i)
		}
	}
	b.WriteString("services:\n  - name: ranker\n    features: [user_stats.*, user_profile.*, item_stats.*, item_profile.*]\nmodels:\n")
	for _, m := range models {
		fmt.Fprintf(&b, "  - {name: %s, service: ranker, candidates: item, request: [{name: hour, type: float64}]}\n", m.name)
	}
	return b.String()
}

// profileColumns is how many latest values a side has: with 24 windows and one request
// field they make 64 columns.
func profileColumns(side string) int {
	if side == "user" {
		return 20
	}
	return 19
}

func hopCatalogOf(namespace string, models []hopModel) (*featurestore.Catalog, error) {
	files := []definition.File{{Name: "bench.yaml", Text: []byte(hopDefinitions(models))}}
	return definition.Options{Namespace: namespace}.Parse(files)
}

// hopModel is a model over all columns; what its model.yaml says beside them may be empty.
type hopModel struct {
	name, options string
	artifact      []byte
}

// hopRanker is the ranker of [Hop].
func hopRanker() hopModel {
	return hopModel{name: "ranker", artifact: onnxtest.MLP([]int{hopColumns, 128, 64, 1}, 1)}
}

// spec is the model.yaml.
func (m *hopModel) spec(catalog *featurestore.Catalog) string {
	var b strings.Builder
	b.WriteString("model: " + m.name + "\ninputs:\n  - tensor: features\n    columns:\n")
	for _, ref := range catalog.Service("ranker").Columns {
		fmt.Fprintf(&b, "      - {from: %s, default: 0}\n", ref)
	}
	b.WriteString("      - request.hour\noutput: scores\n" + m.options)
	return b.String()
}

// fillRows folds events into rows by the protocol that ingest uses.
func fillRows(ctx context.Context, store *online.Store, catalog *featurestore.Catalog) error {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	for i, source := range []string{"user_events", "item_events"} {
		var views []*ingest.View
		for _, view := range catalog.ViewsOf(source) {
			v, err := ingest.NewView(catalog, view)
			if err != nil {
				return err
			}
			views = append(views, v)
		}
		entities, fields := []int{hopUsers, hopCatalog}[i], len(catalog.Source(source).Fields)
		var events []featurestore.Event
		for id := range entities {
			for n := range hopEvents {
				// Half of them spread over 300 minutes, half over the last 20.
				span := []time.Duration{300 * time.Minute, 20 * time.Minute}[n%2]
				at := now.Add(-time.Duration(random.Int64N(int64(span))))
				values := []featurestore.Value{featurestore.IntValue(int64(id)), featurestore.FloatValue(float64(1 + random.IntN(5)))}
				for len(values) < fields {
					values = append(values, featurestore.FloatValue(random.NormFloat64()))
				}
				events = append(events, featurestore.Event{
					Position: featurestore.Position{Time: at.UnixMicro(), Offset: int64(len(events))}, Values: values,
				})
			}
		}
		id := ingest.PartitionID{Topic: featurestore.TopicID{byte(i + 1)}}
		p := ingest.NewPartition(store, id, ingest.NewHotRows(views, 64<<20))
		end := int64(len(events))
		if _, err := p.Open(ctx, map[int32]ingest.Offsets{0: {End: end}}); err != nil {
			return err
		}
		if err := p.Process(ctx, ingest.Batch{To: end, Events: events}); err != nil {
			return err
		}
		if err := p.Heartbeat(ctx); err != nil {
			return err
		}
	}
	return nil
}
