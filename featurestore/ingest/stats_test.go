package ingest_test

import (
	"context"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
)

// TestLateAndDuplicateEventsAreCountedByView: a replay of the same offsets counts neither.
func TestLateAndDuplicateEventsAreCountedByView(t *testing.T) {
	catalog := &featurestore.Catalog{
		Namespace: "stats",
		Entities:  []featurestore.Entity{{Name: "user", Keys: []featurestore.JoinKey{{Name: "id", Type: featurestore.Int64}}}},
		Sources: []featurestore.Source{{Name: "s", MaxAge: featurestore.DefaultMaxAge, Fields: []featurestore.Field{
			{Name: "id", Type: featurestore.Int64, Required: true}, {Name: "event", Type: featurestore.Int64},
		}}},
	}
	count := featurestore.Feature{Name: "n", Aggregate: "count", Type: featurestore.Int64, Windows: []featurestore.Window{featurestore.NewWindow(time.Minute)}}
	var views []*ingest.View
	for _, dedupe := range []featurestore.Dedupe{{}, {Field: "event", Last: 10}} {
		v, err := ingest.NewView(catalog, &featurestore.View{
			Name: "v" + dedupe.Field, Entity: "user", Source: "s", JoinFields: []string{"id"}, Generation: 1, Dedupe: dedupe,
			Features: []featurestore.Feature{count},
		})
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, v)
	}
	const at = 1_700_000_000 * int64(1e6)
	batch := ingest.Batch{To: 4}
	for i, e := range []struct{ second, event int64 }{{600, 1}, {600, 1}, {0, 2}, {0, 2}} { // a duplicate, a late one, and both
		batch.Events = append(batch.Events, featurestore.Event{
			Position: featurestore.Position{Time: at + e.second*1e6, Offset: int64(i)},
			Values:   []featurestore.Value{featurestore.IntValue(7), featurestore.IntValue(e.event)},
		})
	}
	var stats []ingest.Stats
	for _, v := range views {
		p := ingest.NewPartition(storetest.NewMemory(), ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows([]*ingest.View{v}, 1<<16))
		if _, err := p.Open(context.Background(), map[int32]ingest.Offsets{0: {End: 4}}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := p.Process(context.Background(), batch); err != nil {
				t.Fatal(err)
			}
		}
		stats = append(stats, p.Stats()...)
	}
	plain, deduped := stats[0], stats[1]
	if plain.Folded != 4 || plain.Late != 2 || plain.Duplicates != 0 || plain.Skipped != 4 {
		t.Errorf("without dedupe: %+v", plain)
	}
	if deduped.Folded != 2 || deduped.Late != 1 || deduped.Duplicates != 2 || deduped.Skipped != 4 {
		t.Errorf("with dedupe: %+v", deduped)
	}
}
