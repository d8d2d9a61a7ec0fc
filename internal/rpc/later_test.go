package rpc

import (
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/internal/serving"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const minuteDefinitions = `
namespace: minutes
entities: [{name: user, keys: [{name: user_id, type: int64}]}, {name: shop, keys: [{name: shop_id, type: int64}]}]
sources:
  - {name: s, format: json, event_time: {field: at, unit: us}, fields: [{name: user_id, type: int64, required: true}, {name: shop_id, type: int64, required: true}]}
views:
  - {name: u, entity: user, source: s, features: [{name: n, aggregate: count, windows: [1m]}]}
  - {name: w, entity: shop, source: s, features: [{name: n, aggregate: count, windows: [1m]}]}
services: [{name: all, features: [u.n_1m, w.n_1m]}]
`

// TestOneFastClock: an event of the future moves the windows of the entities that it tells
// of, and of no other in the request.
func TestOneFastClock(t *testing.T) {
	catalog, err := definition.Parse([]definition.File{{Name: "d.yaml", Text: []byte(minuteDefinitions)}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ahead := now.Add(290 * time.Second).UnixMicro()
	event := func(offset, user, shop, at int64) featurestore.Event {
		return featurestore.Event{Position: featurestore.Position{Time: at, Offset: offset}, Values: []featurestore.Value{featurestore.IntValue(user), featurestore.IntValue(shop)}}
	}
	store := openOnline(t)
	var views []*ingest.View
	for i := range catalog.Views {
		view, err := ingest.NewView(catalog, &catalog.Views[i])
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, view)
	}
	partition := ingest.NewPartition(store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows(views, 1<<16))
	if _, err := partition.Open(t.Context(), map[int32]ingest.Offsets{0: {End: 4}}); err != nil {
		t.Fatal(err)
	}
	batch := ingest.Batch{To: 4, Events: []featurestore.Event{
		event(0, 7, 1, now.UnixMicro()-10e6), event(1, 7, 1, now.UnixMicro()-5e6), event(2, 8, 1, now.UnixMicro()-5e6), event(3, 8, 2, ahead),
	}}
	if err := partition.Process(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if err := partition.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	definitions, err := serving.Compile(catalog)
	if err != nil {
		t.Fatal(err)
	}
	p, err := definitions.Service("all")
	if err != nil {
		t.Fatal(err)
	}
	keys, rows, err := entityKeys(p.Plan, map[string]*onehopv1.Values{"user_id": {Int64: []int64{7, 8}}, "shop_id": {Int64: []int64{1}}})
	if err != nil {
		t.Fatal(err)
	}
	read := store.NewRead()
	defer read.Release()
	for i, v := range p.Views {
		for row := range keys[v.Entity].Len() {
			read.Add(p.Online[i], keys[v.Entity].At(row))
		}
	}
	if err := read.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	var res onehopv1.GetOnlineFeaturesResponse
	if err := answer(t.Context(), &rowsRead{plan: p.Plan, keys: keys, rows: rows, read: read}, now, &res); err != nil {
		t.Fatal(err)
	}
	users, shops := res.GetColumns()[0].GetValues().GetInt64(), res.GetColumns()[1].GetValues().GetInt64()
	if users[0] != 2 || users[1] != 1 || shops[0] != 3 || shops[1] != 3 {
		t.Errorf("users %v, want 2 and, with the minute before the event of the future, 1; shops %v, want 3", users, shops)
	}
	if later := res.GetLaterReads(); res.GetReadTimeUs() != now.UnixMicro() || len(later) != 1 ||
		later[0].GetView() != "u" || later[0].GetRow() != 1 || later[0].GetReadTimeUs() != ahead+1 {
		t.Errorf("read at %d, later reads %v", res.GetReadTimeUs(), later)
	}
}
