package online

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/internal/testenv"
)

// clusterURL starts a Redis Cluster of one node that owns every slot: it refuses commands
// over several slots as any cluster does.
func clusterURL(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server here to make a cluster of:", err)
	}
	port, err := servers.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes",
		"--cluster-port", strconv.Itoa(port+1), "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	client := redis.NewClient(&redis.Options{Addr: address})
	defer func() { _ = client.Close() }()
	deadline := time.Now().Add(10 * time.Second)
	for client.Ping(t.Context()).Err() != nil {
		if time.Now().After(deadline) {
			t.Fatal("redis-server in cluster mode does not answer")
		}
	}
	if err := client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for {
		info, err := client.ClusterInfo(t.Context()).Result()
		if err == nil && len(info) > 16 && info[:16] == "cluster_state:ok" {
			return "redis://" + address + "," + address
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cluster is not ready: %s %v", info, err)
		}
	}
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
	stem := string(appendRowKey(nil, v.prefix, []byte("1")))
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
