package online

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// View is a generation of a view as a reader sees it: where its keys are.
type View struct{ prefix string }

// NewView is the view of a namespace at its generation.
func NewView(namespace string, view *featurestore.View) *View {
	return &View{prefix: prefix(namespace, view)}
}

// Read collects row keys and fetches them, and the live markers of their buckets, in
// one round trip. It is meant to be used again: [Store.NewRead] takes one from a
// pool and [Read.Release] gives it back. Adding a key allocates nothing once the
// buffers have grown. It is not safe for concurrent use.
type Read struct {
	store   *Store
	text    []byte // all keys, one after the other
	ends    []int  // where each key ends in text
	buckets []int  // of each row
	markers []marker
	keys    []string // views into text
	args    []any    // "MGET", then pointers to keys
	reply   bytes.Buffer
	rows    [][]byte // views into reply, or nil
	filling bool
}

type marker struct {
	view   *View
	bucket int
}

var reads = sync.Pool{New: func() any { return &Read{} }}

// NewRead is an empty Read.
func (s *Store) NewRead() *Read {
	r := reads.Get().(*Read)
	r.store = s
	return r
}

// Release gives the Read back; the rows that it returned must not be used any more.
func (r *Read) Release() {
	r.text, r.ends, r.buckets, r.markers = r.text[:0], r.ends[:0], r.buckets[:0], r.markers[:0]
	r.rows, r.filling, r.store = r.rows[:0], false, nil
	r.reply.Reset()
	reads.Put(r)
}

// Add asks for the row of an encoded entity key. The first key added has index 0 in
// [Read.Row].
func (r *Read) Add(view *View, entityKey []byte) {
	bucket := featurestore.Bucket(entityKey)
	r.text = appendRowKey(r.text, view.prefix, entityKey)
	r.ends = append(r.ends, len(r.text))
	r.buckets = append(r.buckets, bucket)
	m := marker{view: view}
	if r.store.cluster {
		m.bucket = bucket
	}
	if !slices.Contains(r.markers, m) {
		r.markers = append(r.markers, m)
	}
}

// Row is the packed row of the i-th key added, nil when there is none. It is valid
// until Release.
func (r *Read) Row(i int) []byte { return r.rows[i] }

// Filling says whether any of the buckets read has lost rows that are being refilled:
// what is missing then may be there, and what is there may be old.
func (r *Read) Filling() bool { return r.filling }

// Do fetches the rows.
func (r *Read) Do(ctx context.Context) error {
	rows := len(r.ends)
	for _, m := range r.markers {
		r.text = r.appendMarker(r.text, m)
		r.ends = append(r.ends, len(r.text))
	}
	r.keys = r.keys[:0]
	start := 0
	for _, end := range r.ends {
		// The text is not changed while the strings are in use.
		r.keys = append(r.keys, unsafe.String(unsafe.SliceData(r.text[start:end]), end-start))
		start = end
	}
	var err error
	if r.store.cluster {
		err = r.fetchCluster(ctx)
	} else {
		err = r.fetch(ctx)
	}
	if err != nil {
		return featurestore.Errorf(featurestore.Unavailable, "the online store does not answer").Because(err)
	}
	for _, live := range r.rows[rows:] {
		r.filling = r.filling || string(live) != "live"
	}
	r.rows = r.rows[:rows]
	return nil
}

func (r *Read) appendMarker(dst []byte, m marker) []byte {
	if r.store.cluster {
		dst = appendTag(dst, m.view.prefix, m.bucket)
	} else {
		dst = append(append(dst, m.view.prefix...), '}')
	}
	return append(dst, "#live"...)
}

// fetch reads all keys by one MGET. The reply is copied once, from the connection,
// and the rows are views into it.
func (r *Read) fetch(ctx context.Context) error {
	r.args = append(r.args[:0], "MGET")
	for i := range r.keys {
		r.args = append(r.args, &r.keys[i])
	}
	err := r.store.client.Process(ctx, r.command(ctx))
	if err != nil && ctx.Err() == nil {
		// A connection that the server had closed: the pool has others, or makes one.
		err = r.store.client.Process(ctx, r.command(ctx))
	}
	if err != nil {
		return err
	}
	r.rows, err = appendBulks(r.rows[:0], r.reply.Bytes())
	if err == nil && len(r.rows) != len(r.keys) {
		err = fmt.Errorf("MGET of %d keys answered %d", len(r.keys), len(r.rows))
	}
	return err
}

func (r *Read) command(ctx context.Context) redis.Cmder {
	r.reply.Reset()
	return redis.NewRawWriteToCmd(ctx, &r.reply, r.args...)
}

// fetchCluster reads the keys by one MGET for each bucket, pipelined.
func (r *Read) fetchCluster(ctx context.Context) error {
	groups := map[string][]int{}
	for i, key := range r.keys {
		stem := key[:strings.IndexByte(key, '}')+1]
		groups[stem] = append(groups[stem], i)
	}
	cmds := make(map[string]*redis.SliceCmd, len(groups))
	_, err := r.store.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for stem, indexes := range groups {
			keys := make([]string, len(indexes))
			for i, at := range indexes {
				keys[i] = r.keys[at]
			}
			cmds[stem] = pipe.MGet(ctx, keys...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.rows = append(r.rows[:0], make([][]byte, len(r.keys))...)
	for stem, indexes := range groups {
		for i, v := range cmds[stem].Val() {
			if text, ok := v.(string); ok {
				r.rows[indexes[i]] = []byte(text)
			}
		}
	}
	return nil
}

// Load returns the rows of encoded entity keys, nil where there is none, in memory of
// their own.
func (s *Store) Load(ctx context.Context, view *ingest.View, keys [][]byte) ([][]byte, error) {
	r := s.NewRead()
	defer r.Release()
	v := NewView(view.Namespace, view.View)
	for _, key := range keys {
		r.Add(v, key)
	}
	if err := r.Do(ctx); err != nil {
		return nil, err
	}
	rows := make([][]byte, len(keys))
	for i := range rows {
		rows[i] = bytes.Clone(r.Row(i))
	}
	return rows, nil
}
