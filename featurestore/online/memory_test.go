package online

import (
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/internal/generate"
	"github.com/onehop/onehop/internal/testenv"
)

// TestMemoryOfFiftyLatestValues asks the server what a row takes with its key, both objects
// and their place in the dictionary.
func TestMemoryOfFiftyLatestValues(t *testing.T) {
	store := open(t, testenv.Redis(t))
	source, features, event := generate.Profile()
	view := &ingest.View{
		View:      &featurestore.View{Name: "user_profile", Generation: 1, Features: features},
		Namespace: testenv.Namespace(t),
	}
	var err error
	if view.Program, err = fold.Compile(view.View, source); err != nil {
		t.Fatal(err)
	}
	defer forget(t, store, view.Namespace)
	state := view.Program.NewState()
	state.Fold(&event)
	key := []byte("12345678")
	id := ingest.PartitionID{Topic: featurestore.TopicID{1}}
	bucket := featurestore.Bucket(key)
	if err := store.BeginFill(t.Context(), view, id.Topic, []int{bucket}, map[int32]ingest.Offsets{0: {End: 1}}); err != nil {
		t.Fatal(err)
	}
	commit := ingest.Commit{
		View: view, Bucket: bucket, Partition: id, Next: 1,
		Rows: []ingest.RowWrite{{Key: key, Row: state.AppendRow(nil)}},
	}
	outcomes, err := store.Commit(t.Context(), []ingest.Commit{commit})
	if err != nil || outcomes[0].Moved || outcomes[0].Changed != nil {
		t.Fatal(outcomes, err)
	}
	name := rowKey(prefix(view.Namespace, view.View), key)
	n, err := store.client.MemoryUsage(t.Context(), name).Result()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s takes %d bytes", name, n)
	if n > 300 {
		t.Errorf("%d bytes; at most 300 are promised", n)
	}
}
