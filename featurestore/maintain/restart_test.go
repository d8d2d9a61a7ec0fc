package maintain_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/internal/servers"
)

// TestPostgresRestarts kills Postgres in the middle of filling, verifying and forgetting, again
// and again: what failed is run again, and in the end every row is the fold of what is left in
// history, and what was deleted is deleted and told once.
func TestPostgresRestarts(t *testing.T) {
	server, err := servers.Postgres(t.Context(), servers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	w := newWorldAt(t, shop, server.URL())
	random := rand.New(rand.NewPCG(3, 5))
	const users, orders = 4000, 20_000
	all := make([]featurestore.Event, orders)
	start := time.Now().Add(-time.Hour).UnixMicro()
	for i := range all {
		at := start + int64(i)*1000
		all[i] = featurestore.Event{
			Position: featurestore.Position{Time: at, Offset: int64(i)}, RecordTime: at,
			Values: []featurestore.Value{
				featurestore.IntValue(random.Int64N(users)), featurestore.FloatValue(1), featurestore.StringValue("Ann's"),
			},
		}
	}
	w.keep(all, orders)
	// The writer's commits do not wait for the disk.
	_, err = w.pool.Exec(t.Context(), "CHECKPOINT")
	w.check(err)

	kills := 0
	// outlive runs something, and kills Postgres in the middle of the first tries.
	outlive := func(name string, do func(ctx context.Context) error) {
		t.Helper()
		for try := 0; ; try++ {
			ended := make(chan struct{})
			killer := make(chan error, 1)
			go func() {
				select {
				case <-ended:
					killer <- nil
				case <-time.After(time.Duration(1+random.IntN(40*(1+try))) * time.Millisecond):
					if try > 3 {
						killer <- nil
						return
					}
					kills++
					server.Kill()
					killer <- server.Restart(context.WithoutCancel(t.Context()))
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			err := do(ctx)
			cancel()
			close(ended)
			w.check(<-killer)
			if err == nil {
				t.Logf("%s: done at try %d", name, try+1)
				return
			}
			if try > 10 {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	logs := func(context.Context) (featurestore.TopicID, map[int32]ingest.Offsets, error) {
		return id.Topic, map[int32]ingest.Offsets{0: {Start: 10, End: orders}}, nil
	}
	for i := range w.catalog.Views {
		view := &w.catalog.Views[i]
		outlive("filling "+view.Name, func(ctx context.Context) error {
			_, err := (&maintain.Backfill{Pool: w.pool, Store: w.store, Catalog: w.catalog}).InChunks(100).View(ctx, view, logs)
			return err
		})
	}
	p := ingest.NewPartition(w.store, id, ingest.NewHotRows([]*ingest.View{w.view, w.others[0]}, 1<<20))
	_, err = p.Open(t.Context(), map[int32]ingest.Offsets{0: {Start: 10, End: orders}})
	w.check(err)
	w.check(p.Heartbeat(t.Context()))
	outlive("verifying", func(ctx context.Context) error {
		for i := range w.catalog.Views {
			v, err := w.verifier.View(ctx, &w.catalog.Views[i], 0)
			if err != nil {
				return err
			}
			if v.Wrong() > 0 || v.Unchecked > 0 {
				t.Errorf("%+v", v)
			}
		}
		return nil
	})
	const forgotten = 5
	deleted := int64(0)
	for user := range int64(forgotten) {
		key := []featurestore.Value{featurestore.IntValue(user)}
		outlive("forgetting", func(ctx context.Context) error {
			d := &history.Deletion{Entity: "user", Key: key[0].String()}
			err := w.forgetter().Source(ctx, &w.catalog.Sources[0], w.catalog.Entity("user"), key, d)
			if err == nil {
				deleted += d.Events
			}
			return err
		})
	}
	if rows := w.right(); rows > users-forgotten+1 || rows < users*9/10 {
		t.Errorf("%d rows", rows)
	}
	var left, told int64
	w.check(w.pool.QueryRow(t.Context(), `SELECT count(*) FROM "onehop_`+w.catalog.Namespace+`".orders`).Scan(&left))
	w.check(w.pool.QueryRow(t.Context(), "SELECT sum(events) FROM onehop.deletions").Scan(&told))
	// A commit whose answer was lost is told in onehop.deletions only.
	if left+told != orders || deleted > told || kills < 5 {
		t.Errorf("%d events are left and %d were deleted, of which %d were told here; Postgres was killed %d times", left, told, deleted, kills)
	}
}
