package online

import (
	"bytes"
	"fmt"
	"maps"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
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
			if err := store.client.Set(t.Context(), rowKey(v.prefix, key), "row "+string(key), 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := read.Do(t.Context()); err != nil || !read.Marked() || !read.Filling() {
		t.Fatalf("%v, marked %t, filling %t; want a read with watermarks, without live markers", err, read.Marked(), read.Filling())
	}
	for i, key := range keys {
		look, err := store.Look(t.Context(), v, featurestore.Bucket(key), [][]byte{key})
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
	key := rowKey(v.prefix, []byte("7"))
	if err := store.client.HSet(t.Context(), watermarksKey(v.prefix, featurestore.Bucket([]byte("7"))), "nonsense", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := store.client.Set(t.Context(), key, "a row", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := read.Do(t.Context()); err != nil || read.Marked() || string(read.Row(0)) != "a row" {
		t.Errorf("%v, marked %t", err, read.Marked())
	}
}

// TestMarkedReadsAreOfOneMoment: while a writer moves a row and its watermark together, every
// read sees the one that belongs to the other.
func TestMarkedReadsAreOfOneMoment(t *testing.T) {
	t.Run("redis", func(t *testing.T) { testOneMoment(t, testenv.Redis(t)) })
	t.Run("cluster", func(t *testing.T) { testOneMoment(t, clusterURL(t)) })
}

func testOneMoment(t *testing.T, url string) {
	store := open(t, url)
	view, err := storetest.View(testenv.Namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	v := NewView(view.Namespace, view.View)
	key, id := []byte("7"), ingest.PartitionID{Partition: 3}
	write := func(n int) error {
		_, err := store.client.TxPipelined(t.Context(), func(pipe redis.Pipeliner) error {
			pipe.Set(t.Context(), rowKey(v.prefix, key), n, 0)
			pipe.HSet(t.Context(), watermarksKey(v.prefix, featurestore.Bucket(key)), field(id), n)
			return nil
		})
		return err
	}
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	enough, written := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-enough:
				written <- nil
				return
			default:
			}
			if err := write(n); err != nil {
				written <- err
				return
			}
		}
	}()
	seen := map[string]bool{}
	for range 2000 {
		read := store.NewRead()
		read.Mark()
		read.Add(v, key)
		if err := read.Do(t.Context()); err != nil || !read.Marked() {
			t.Errorf("%v, marked %t", err, read.Marked())
			break
		}
		row, mark := string(read.Row(0)), read.Marks(0)[id]
		read.Release()
		seen[row] = true
		if row != strconv.FormatInt(mark, 10) {
			t.Errorf("row %s was read with watermark %d", row, mark)
			break
		}
	}
	close(enough)
	if err := <-written; err != nil {
		t.Error(err)
	}
	if len(seen) < 100 {
		t.Errorf("only %d different rows were read: the writer did not write meanwhile", len(seen))
	}
}
