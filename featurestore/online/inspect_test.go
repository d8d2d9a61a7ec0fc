package online

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/internal/testenv"
)

func TestInspect(t *testing.T) {
	stores(t, func(t *testing.T, url string) {
		store := open(t, url)
		view, err := storetest.View(testenv.Namespace(t))
		if err != nil {
			t.Fatal(err)
		}
		defer forget(t, store, view.Namespace)
		key := []byte("42")
		got, err := store.Inspect(t.Context(), NewView(view.Namespace, view.View), key)
		if err != nil {
			t.Fatal(err)
		}
		want := &Inspection{Key: got.Key, Bucket: got.Bucket, Watermarks: map[string]int64{}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error("of an entity that nothing is known of:", diff)
		}
		id := ingest.PartitionID{Partition: 3}
		offsets := map[int32]ingest.Offsets{3: {Start: 10, End: 20}}
		if err := store.BeginFill(t.Context(), view, id.Topic, []int{got.Bucket}, offsets); err != nil {
			t.Fatal(err)
		}
		expire := time.Now().Add(time.Hour)
		_, err = store.Commit(t.Context(), []ingest.Commit{{
			View: view, Bucket: got.Bucket, Partition: id, Expect: 10, Next: 17,
			Rows: []ingest.RowWrite{{Key: key, Row: []byte("a packed row"), Expire: expire.UnixMicro()}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err = store.Inspect(t.Context(), NewView(view.Namespace, view.View), key); err != nil {
			t.Fatal(err)
		}
		if left := time.Hour - got.Expires; left < 0 || left > time.Minute {
			t.Errorf("the row expires in %s, not in an hour", got.Expires)
		}
		want.Row, want.Marker, want.Expires = []byte("a packed row"), "filling", got.Expires
		want.Watermarks = map[string]int64{field(id): 17}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
