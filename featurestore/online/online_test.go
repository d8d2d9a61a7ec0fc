package online

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func open(t *testing.T, url string) *Store {
	t.Helper()
	client, err := Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// stores are what the suites run against: the real server and its stand-in.
func stores(t *testing.T, run func(t *testing.T, url string)) {
	t.Run("redis", func(t *testing.T) { run(t, testenv.Redis(t)) })
	t.Run("miniredis", func(t *testing.T) { run(t, "redis://"+miniredis.RunT(t).Addr()) })
}

func TestStorePassesTheSuite(t *testing.T) {
	stores(t, func(t *testing.T, url string) {
		storetest.Run(t, func(t *testing.T) (ingest.Store, *ingest.View, func()) {
			store := open(t, url)
			view, err := storetest.View(testenv.Namespace(t))
			if err != nil {
				t.Fatal(err)
			}
			return store, view, func() { forget(t, store, view.Namespace) }
		})
	})
}

// forget removes a namespace: other tests share the server.
func forget(t *testing.T, store *Store, namespace string) {
	t.Helper()
	keys, err := store.client.Keys(context.WithoutCancel(t.Context()), "{"+namespace+":*").Result()
	if err == nil && len(keys) > 0 {
		err = store.client.Del(t.Context(), keys...).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadReturnsRowsAndMarkers(t *testing.T) {
	stores(t, func(t *testing.T, url string) {
		store := open(t, url)
		view, err := storetest.View(testenv.Namespace(t))
		if err != nil {
			t.Fatal(err)
		}
		v := NewView(view.Namespace, view.View)
		row := []byte("stamp678 a row with \r\n and \x00 in it")
		key := rowKey(v.prefix, []byte("7"))
		if err := store.client.Set(t.Context(), key, row, 0).Err(); err != nil {
			t.Fatal(err)
		}
		for _, marker := range []string{"", "filling", "live"} {
			if marker != "" {
				if err := store.client.Set(t.Context(), v.prefix+"}#live", marker, 0).Err(); err != nil {
					t.Fatal(err)
				}
			}
			r := store.NewRead()
			r.Add(v, []byte("6"))
			r.Add(v, []byte("7"))
			if err := r.Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r.Row(0) != nil || !bytes.Equal(r.Row(1), row) {
				t.Fatalf("rows %q and %q", r.Row(0), r.Row(1))
			}
			if r.Filling() != (marker != "live") {
				t.Fatalf("marker %q: filling is %v", marker, r.Filling())
			}
			r.Release()
		}
	})
}

// TestReadAllocatesNothingForARow is a promise of the hot path.
func TestReadAllocatesNothingForARow(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself; make test runs this test once more without it")
	}
	store := open(t, testenv.Redis(t))
	view := newView("{" + testenv.Namespace(t) + ":v@1")
	allocations := func(rows int) float64 {
		return testing.AllocsPerRun(50, func() {
			r := store.NewRead()
			var key [20]byte
			for i := range rows {
				r.Add(view, fmt.Append(key[:0], 1000+i))
			}
			if err := r.Do(context.Background()); err != nil {
				t.Fatal(err)
			}
			r.Release()
		})
	}
	few, many := allocations(10), allocations(1010)
	if perRow := (many - few) / 1000; perRow > 1.1 { // fmt.Append boxes its argument
		t.Fatalf("%.2f allocations a row", perRow)
	}
}

func TestRowsExpireAfterTheirRetention(t *testing.T) {
	store := open(t, testenv.Redis(t))
	view, err := storetest.View(testenv.Namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	l := storetest.NewLog(1, 1)
	p := ingest.NewPartition(store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	if _, err := p.Open(t.Context(), l.Offsets()); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Hour)
	c := ingest.Commit{
		View: view, Bucket: 0, Partition: ingest.PartitionID{Topic: storetest.Topic}, Expect: 0, Next: 1,
		Rows: []ingest.RowWrite{{Key: []byte("x"), Row: []byte("12345678row"), Expire: at.UnixMicro()}},
	}
	outcomes, err := store.Commit(t.Context(), []ingest.Commit{c})
	if err != nil || outcomes[0].Moved || len(outcomes[0].Changed) > 0 {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	left, err := store.client.PTTL(t.Context(), tag(prefix(view.Namespace, view.View), 0)+":x").Result()
	if err != nil || left <= 59*time.Minute || left > time.Hour {
		t.Fatalf("the row expires in %s, %v; want an hour", left, err)
	}
}

func TestEvictingServersAreRefused(t *testing.T) {
	client, err := Connect(t.Context(), testenv.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	before, err := client.ConfigGet(t.Context(), "maxmemory-policy").Result()
	if err != nil {
		t.Fatal(err)
	}
	evicting := client.(*redis.Client).WithTimeout(time.Second)
	evicting.AddHook(pretendPolicy{})
	if _, err := Open(t.Context(), evicting); err == nil || !strings.Contains(err.Error(), "noeviction") {
		t.Fatalf("a server that evicts (%v): %v", before, err)
	}
}

// pretendPolicy answers CONFIG GET as a server that evicts would: changing the shared
// server's policy would fail the tests beside this one.
type pretendPolicy struct{}

func (pretendPolicy) DialHook(next redis.DialHook) redis.DialHook { return next }

func (pretendPolicy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c, ok := cmd.(*redis.MapStringStringCmd); ok {
			c.SetVal(map[string]string{"maxmemory-policy": "allkeys-lru"})
			return nil
		}
		return next(ctx, cmd)
	}
}

func (pretendPolicy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestDeadlinesHoldWhileRedisHangs freezes Redis under a read: the caller's deadline
// counts, and a caller without one is not kept for long.
func TestDeadlinesHoldWhileRedisHangs(t *testing.T) {
	server, err := servers.Redis(t.Context(), servers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	store := open(t, server.URL())
	narrow := open(t, server.URL()+"?pool_size=1")
	if err := server.Suspend(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Resume() }()
	for _, c := range []struct{ deadline, most time.Duration }{{100 * time.Millisecond, time.Second}, {time.Minute, MaxRead + time.Second}} {
		ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
		start := time.Now()
		r := store.NewRead()
		r.Add(newView("{x:v@1"), []byte("1"))
		err := r.Do(ctx)
		r.Release()
		cancel()
		var known *featurestore.Error
		if took := time.Since(start); !errors.As(err, &known) || known.Code != featurestore.Unavailable || took > c.most {
			t.Errorf("with a deadline of %s: %v after %s, want unavailable within %s", c.deadline, err, took, c.most)
		}
	}
	start := time.Now()
	var all sync.WaitGroup
	for range 3 { // for one connection
		all.Go(func() {
			r := narrow.NewRead()
			defer r.Release()
			r.Add(newView("{x:v@1"), []byte("1"))
			if err := r.Do(context.Background()); err == nil {
				t.Error("a server that hangs answered")
			}
		})
	}
	all.Wait()
	if took := time.Since(start); took > MaxRead+time.Second {
		t.Errorf("those who waited for a connection took %s", took)
	}
}
