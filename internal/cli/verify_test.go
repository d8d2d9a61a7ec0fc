package cli_test

import (
	"encoding/json"
	"testing"

	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/internal/testenv"
)

// TestVerify: rows that are there are equal; one that is not is lost, and the command says so
// by its exit status.
func TestVerify(t *testing.T) {
	s := newShop(t)
	url := testenv.Redis(t)
	client, err := online.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	store, err := online.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	s.fold(t, store)
	flags := append([]string{"verify", "--sample", "0", "--json", "--redis", url}, s.flags...)
	verify := func(want int) (views []struct {
		View         string
		Rows, Points int
		Different    map[string]int
		Unchecked    int
		Differences  []struct{ Key, Column, Online, History string }
	},
	) {
		t.Helper()
		code, out, _ := run(t, flags...)
		if code != want {
			t.Fatalf("exit status %d, want %d", code, want)
		}
		if err := json.Unmarshal([]byte(out), &views); err != nil {
			t.Fatal(err)
		}
		return views
	}
	for _, v := range verify(0) {
		if v.Rows != 2 || len(v.Different) != 0 || v.Unchecked != 0 {
			t.Errorf("%+v", v)
		}
	}
	versions, err := registry.New(s.pool, s.namespace).Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in, err := store.Inspect(t.Context(), online.NewView(s.namespace, versions[0].View("user")), []byte("2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Del(t.Context(), in.Key).Err(); err != nil {
		t.Fatal(err)
	}
	if v := verify(1)[0]; v.Different["lost"] != 1 || v.Differences[0].Key != "2" || v.Differences[0].Online != "NOT_FOUND" || v.Differences[0].History != "1" {
		t.Errorf("%+v", v)
	}
}

// fold brings the shop's events to Redis.
func (s *shop) fold(t *testing.T, store *online.Store) {
	t.Helper()
	versions, err := registry.New(s.pool, s.namespace).Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var views []*ingest.View
	for i := range versions[0].Views {
		v, err := ingest.NewView(versions[0], &versions[0].Views[i])
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, v)
	}
	end := int64(len(s.events))
	p := ingest.NewPartition(store, shopPartition, ingest.NewHotRows(views, 1<<20))
	if _, err := p.Open(t.Context(), map[int32]ingest.Offsets{0: {End: end}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Process(t.Context(), ingest.Batch{To: end, Events: s.events}); err != nil {
		t.Fatal(err)
	}
	if err := p.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
}
