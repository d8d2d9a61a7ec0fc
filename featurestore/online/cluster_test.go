package online

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/internal/testenv"
)

// clusterURL starts a Redis Cluster of one master that owns every slot: it refuses commands
// over several slots as any cluster does.
func clusterURL(t *testing.T) string {
	t.Helper()
	cluster, err := servers.NewRedisCluster(t.Context(), 1, servers.Options{})
	if errors.Is(err, servers.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	return cluster.URL()
}

// TestClusterPassesTheSuite runs the suite of stores where each bucket is alone in its
// slot and has a live marker of its own.
func TestClusterPassesTheSuite(t *testing.T) {
	url := clusterURL(t)
	storetest.Run(t, func(t *testing.T) (ingest.Store, *ingest.View, func()) {
		store := open(t, url)
		if !store.cluster {
			t.Fatal("several hosts in a URL do not make a cluster")
		}
		view, err := storetest.View(testenv.Namespace(t))
		if err != nil {
			t.Fatal(err)
		}
		return store, view, func() {
			if err := store.client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// trips counts round trips.
type trips struct{ n atomic.Int32 }

func (h *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmd)
	}
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmds)
	}
}

// TestClusterHeartbeatIsFewRoundTrips holds the markers of all buckets, which are in slots of
// their own, to one round trip: each partition asks for them every few seconds.
func TestClusterHeartbeatIsFewRoundTrips(t *testing.T) {
	store := open(t, clusterURL(t))
	view, err := storetest.View(testenv.Namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	l, id := storetest.NewLog(1, 1), ingest.PartitionID{Topic: storetest.Topic}
	buckets := make([]int, featurestore.Buckets)
	for b := range buckets {
		buckets[b] = b
	}
	hook := &trips{}
	store.client.AddHook(hook)
	if err := store.BeginFill(t.Context(), view, id.Topic, buckets, l.Offsets()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first time a script is loaded
		hook.n.Store(0)
		if state, err := store.Advance(t.Context(), view, id); err != nil || state != ingest.Behind {
			t.Fatalf("the state is %v, %v", state, err)
		}
	}
	if n := hook.n.Load(); n != 1 {
		t.Fatalf("looking at the markers of %d buckets took %d round trips", featurestore.Buckets, n)
	}
}

// TestClusterLosesOneBucket loses the keys of one slot only, as a shard may: readers of
// that bucket are told, the others are not, and its rows come back.
func TestClusterLosesOneBucket(t *testing.T) {
	store := open(t, clusterURL(t))
	view, err := storetest.View(testenv.Namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	l := storetest.NewLog(1, 400)
	p := ingest.NewPartition(store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	follow := func() {
		t.Helper()
		if _, err := p.Open(t.Context(), l.Offsets()); err != nil {
			t.Fatal(err)
		}
		if err := p.Process(t.Context(), l.Batch(0, p.Position(), 400)); err != nil {
			t.Fatal(err)
		}
		if err := p.Heartbeat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	follow()
	v := NewView(view.Namespace, view.View)
	filling := func(key string) bool {
		t.Helper()
		r := store.NewRead()
		defer r.Release()
		r.Add(v, []byte(key))
		if err := r.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.Filling()
	}
	stem := rowKey(v.prefix, []byte("1"))
	stem = stem[:len(stem)-len(":1")]
	keys, err := store.client.Keys(t.Context(), stem+"*").Result()
	if err != nil || len(keys) < 3 {
		t.Fatalf("the bucket has %d keys, %v", len(keys), err)
	}
	if err := store.client.Del(t.Context(), keys...).Err(); err != nil {
		t.Fatal(err)
	}
	if !filling("1") || filling("2") {
		t.Fatalf("a lost bucket is told: %v; another one: %v", filling("1"), filling("2"))
	}
	follow()
	if filling("1") {
		t.Fatal("the bucket is not live again")
	}
	if err := storetest.Check(t.Context(), store, view, l); err != nil {
		t.Fatal(err)
	}
}
