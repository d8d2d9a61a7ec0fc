package rpc

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/inference/predictions"
	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// share makes a shop that shares its answers by a Redis.
func share(t *testing.T, client redis.UniversalClient, namespace, cache string) *shop {
	t.Helper()
	s := newShop(t)
	s.service.Models.Shared = predictions.StartShared(context.WithoutCancel(t.Context()), client, namespace, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	t.Cleanup(s.service.Models.Shared.Close)
	s.ship(2, shopSpec+"cache: "+cache+"\n", 4)
	s.look()
	return s
}

// TestInstancesShareAnswers by a real Redis: what one computed the other has, until it is too old; a version with other files has not.
func TestInstancesShareAnswers(t *testing.T) {
	client, err := online.Connect(t.Context(), testenv.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	namespace := testenv.Namespace(t)
	const cache = "{request: {ttl: 1m, shared: true}}"
	one, two := share(t, client, namespace, cache), share(t, client, namespace, cache)
	stranger := share(t, client, namespace, "{request: {ttl: 2m, shared: true}}")
	first := one.ask(ask(1))
	var names []string
	for deadline := time.Now().Add(10 * time.Second); len(names) == 0; {
		if names, err = client.Keys(t.Context(), namespace+":prediction:ranker/2/*").Result(); err != nil || time.Now().After(deadline) {
			t.Fatalf("nothing was stored: %v", err)
		}
	}
	if left, err := client.PTTL(t.Context(), names[0]).Result(); err != nil || left <= 0 || left > time.Minute {
		t.Errorf("it expires in %s: %v", left, err)
	}
	if res := two.ask(ask(1)); first.GetCached() || !res.GetCached() || !sameAnswer(res, first) {
		t.Errorf("%v, want that of the other instance, %v", res, first)
	}
	if res := stranger.ask(ask(1)); res.GetCached() {
		t.Error("an answer of other files is taken")
	}
	if res := two.ask(ask(2)); res.GetCached() {
		t.Error("nobody asked that before")
	}
	// An instance that takes an answer late may not keep it for longer than it counts.
	if err := client.PExpire(t.Context(), names[0], 9400*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	late := share(t, client, namespace, cache)
	ctx, info := connect.NewClientContext(t.Context())
	res, err := onehopv1connect.NewInferenceServiceClient(late.http, late.url, connect.WithHTTPGet()).GetFeaturesAndPredict(ctx, ask(1))
	if age := info.ResponseHeader().Get("Cache-Control"); err != nil || !res.GetCached() || age != "max-age=9" {
		t.Errorf("%s of %v: %v", age, res, err)
	}
	// Another's entry where one's own would lie: as if two keys had the same hash.
	three := share(t, client, namespace, cache)
	text, err := client.Get(t.Context(), names[0]).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	text[40]++
	if err := client.Set(t.Context(), names[0], text, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	if res := three.ask(ask(1)); res.GetCached() {
		t.Error("an entry with another key is taken")
	}
}

// TestSharedWithoutRedis: each instance answers by itself.
func TestSharedWithoutRedis(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	s := share(t, client, "nowhere", "{request: {ttl: 1m, shared: true}}")
	if first, again := s.ask(ask(1)), s.ask(ask(1)); first.GetCached() || !again.GetCached() {
		t.Errorf("%v, %v", first, again)
	}
}

// connectTo is a client for a URL of Redis, or of a cluster.
func connectTo(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := online.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// stored waits until one instance's answer is another's, which asks anew each time so that it keeps none of its own.
func stored(t *testing.T, client redis.UniversalClient, namespace string, user int64) {
	t.Helper()
	first := share(t, client, namespace, "{request: {ttl: 1m, shared: true}}").ask(ask(user))
	for deadline := time.Now().Add(10 * time.Second); ; {
		res := share(t, client, namespace, "{request: {ttl: 1m, shared: true}}").ask(ask(user))
		if res.GetCached() {
			if !sameAnswer(res, first) {
				t.Errorf("%v, want that of the other instance, %v", res, first)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer was shared")
		}
	}
}

// TestInstancesShareAnswersOnACluster: entries go to any slot.
func TestInstancesShareAnswersOnACluster(t *testing.T) {
	cluster, err := servers.NewRedisCluster(t.Context(), 3, servers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Stop() })
	client := connectTo(t, cluster.URL())
	for user := range int64(5) {
		stored(t, client, "cluster", 1+user)
	}
}

// TestSharedWithAFullRedis: what was stored is found still, and what cannot be stored is answered.
func TestSharedWithAFullRedis(t *testing.T) {
	server, err := servers.Redis(t.Context(), servers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	client := connectTo(t, server.URL())
	const kept = 5
	for user := range int64(kept) {
		stored(t, client, "full", user)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(t.Context(), "more", "1", 0).Err(); !redis.IsOOMError(err) {
		t.Fatalf("Redis is not full: %v", err)
	}
	const cache = "{request: {ttl: 1m, shared: true}}"
	one := share(t, client, "full", cache)
	for user := range int64(kept) {
		for other := range int64(20) { // their writes fail
			if res := one.ask(ask(100 + 20*user + other)); res.GetCached() || len(res.GetScores()) == 0 {
				t.Errorf("%v", res)
			}
		}
		if res := one.ask(ask(user)); !res.GetCached() {
			t.Error("what was stored before is not found")
		}
	}
	if res := share(t, client, "full", cache).ask(ask(100)); res.GetCached() {
		t.Error("a full Redis stored an answer")
	}
}
