package rpc

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/internal/rpc/rpctest"
	"github.com/onehop/onehop/internal/serving"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const starDefinitions = rpctest.Stars + `
on_demand: [{name: d, features: [{name: more, expression: "v.n_lifetime + 1"}, {name: stars, expression: "v.stars == null ? 0 : v.stars"}]}]
services: [{name: all, features: [v.*, d.*]}]
`

// TestWhatIsNotThereYetIsNoValue reads while one of two partitions is folded: what has no
// value yet must not look like the value 0, nor like something that is known.
func TestWhatIsNotThereYetIsNoValue(t *testing.T) {
	catalog, err := definition.Parse([]definition.File{{Name: "d.yaml", Text: []byte(starDefinitions)}})
	if err != nil {
		t.Fatal(err)
	}
	store := openOnline(t)
	fillHalf(t, store, catalog, featurestore.Event{
		Position: featurestore.Position{Time: 1_000_000}, Values: []featurestore.Value{featurestore.IntValue(7), {}},
	})
	definitions, err := serving.Compile(catalog)
	if err != nil {
		t.Fatal(err)
	}
	p, err := definitions.Service("all")
	if err != nil {
		t.Fatal(err)
	}
	keys, rows, err := entityKeys(p.Plan, map[string]*onehopv1.Values{"user_id": {Int64: []int64{7, 8}}})
	if err != nil {
		t.Fatal(err)
	}
	read := store.NewRead()
	defer read.Release()
	for row := range rows {
		read.Add(p.Online[0], keys[0].At(row))
	}
	if err := read.Do(t.Context()); err != nil || !read.Filling() {
		t.Fatal(read.Filling(), err)
	}
	var res onehopv1.GetOnlineFeaturesResponse
	if err := answer(t.Context(), &rowsRead{plan: p.Plan, keys: keys, rows: rows, read: read}, time.UnixMicro(2_000_000), &res); err != nil {
		t.Fatal(err)
	}
	columns := res.GetColumns()
	// User 7 has one event, without stars; of user 8 there is no row.
	for i, want := range [][]onehopv1.Status{
		{onehopv1.Status_STATUS_STALE, onehopv1.Status_STATUS_FILLING},
		{onehopv1.Status_STATUS_FILLING, onehopv1.Status_STATUS_FILLING},
		{onehopv1.Status_STATUS_STALE, onehopv1.Status_STATUS_FILLING}, // what is computed is as its inputs are
		{onehopv1.Status_STATUS_FILLING, onehopv1.Status_STATUS_FILLING},
	} {
		for row, status := range columns[i].GetStatuses() {
			if status != want[row] {
				t.Errorf("%s of row %d is %s, want %s", columns[i].GetName(), row, status, want[row])
			}
		}
	}
	if n := columns[0].GetValues().GetInt64()[0]; n != 1 {
		t.Errorf("the count of user 7 is %d, want 1", n)
	}
}

// openOnline is a store in a Redis of the test's own.
func openOnline(t *testing.T) *online.Store {
	t.Helper()
	return rpctest.OpenOnline(t, "redis://"+miniredis.RunT(t).Addr())
}

// fillHalf folds an event of one of two partitions.
func fillHalf(t *testing.T, store *online.Store, catalog *featurestore.Catalog, e featurestore.Event) {
	t.Helper()
	view, err := ingest.NewView(catalog, &catalog.Views[0])
	if err != nil {
		t.Fatal(err)
	}
	partition := ingest.NewPartition(store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	if _, err := partition.Open(t.Context(), map[int32]ingest.Offsets{0: {End: 1}, 1: {End: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := partition.Process(t.Context(), ingest.Batch{To: 1, Events: []featurestore.Event{e}}); err != nil {
		t.Fatal(err)
	}
}
