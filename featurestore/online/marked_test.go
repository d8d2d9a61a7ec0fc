package online

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/internal/testenv"
)

// TestMarkedReads: rows with the watermarks of their buckets are what Look gives bucket by
// bucket, on a server, its stand-in and a cluster, of more rows of a bucket than a script reads.
func TestMarkedReads(t *testing.T) {
	stores(t, testMarkedReads)
	t.Run("cluster", func(t *testing.T) { testMarkedReads(t, clusterURL(t)) })
}

func testMarkedReads(t *testing.T, url string) {
	store := open(t, url)
	view, err := storetest.View(testenv.Namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	v := NewView(view.Namespace, view.View)
	topic := "000102030405060708090a0b0c0d0e0f"
	for b := range 64 {
		if b%5 == 0 {
			continue // nothing was ever folded there
		}
		if err := store.client.HSet(t.Context(), watermarksKey(v.prefix, b), topic+":0", b, topic+":7", 1<<60).Err(); err != nil {
			t.Fatal(err)
		}
	}
	const n = 64 * lookRows / 8
	read := store.NewRead()
	defer read.Release()
	read.Mark()
	var keys [][]byte
	for i := range n {
		key := fmt.Appendf(nil, "%d", i%(n/16)) // the same rows again and again, so that buckets have many
		keys = append(keys, key)
		read.Add(v, key)
		if i%3 == 0 && i < n/16 {
			if err := store.client.Set(t.Context(), string(appendRowKey(nil, v.prefix, key)), "row "+string(key), 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := read.Do(t.Context()); err != nil || !read.Marked() || !read.Filling() {
		t.Fatalf("%v, marked %t, filling %t; want a read with watermarks, without live markers", err, read.Marked(), read.Filling())
	}
	for i, key := range keys {
		look, err := store.Look(t.Context(), v, read.buckets[i], [][]byte{key})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read.Row(i), look.Rows[0]) || !maps.Equal(read.Marks(i), look.Watermarks) {
			t.Fatalf("row %s: read %q with %v, looked at %q with %v", key, read.Row(i), read.Marks(i), look.Rows[0], look.Watermarks)
		}
		if i > 2000 {
			break
		}
	}
}

// TestMarkedReadsThatFail: a watermark that cannot be read costs the log a vector, and not the
// caller an answer.
func TestMarkedReadsThatFail(t *testing.T) {
	store := open(t, testenv.Redis(t))
	view, err := storetest.View(testenv.Namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	v := NewView(view.Namespace, view.View)
	read := store.NewRead()
	defer read.Release()
	read.Mark()
	read.Add(v, []byte("7"))
	key := string(appendRowKey(nil, v.prefix, []byte("7")))
	if err := store.client.HSet(t.Context(), watermarksKey(v.prefix, read.buckets[0]), "nonsense", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := store.client.Set(t.Context(), key, "a row", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := read.Do(t.Context()); err != nil || read.Marked() || string(read.Row(0)) != "a row" {
		t.Errorf("%v, marked %t", err, read.Marked())
	}
}
