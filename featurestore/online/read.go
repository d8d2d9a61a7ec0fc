package online

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// View is a generation of a view as a reader sees it: where its keys are.
type View struct {
	prefix string
	near   time.Duration                // how old a copy of a row may be, see Near
	stems  [featurestore.Buckets]string // what the keys of each bucket's rows begin with
}

// NewView is the view of a namespace at its generation. It is immutable; whoever reads often keeps it.
func NewView(namespace string, view *featurestore.View) *View {
	v := newView(prefix(namespace, view))
	v.near = view.NearCache
	return v
}

func newView(prefix string) *View {
	v := &View{prefix: prefix}
	for b := range v.stems {
		v.stems[b] = tag(prefix, b) + ":"
	}
	return v
}

// Read collects row keys and fetches them, and the live markers of their buckets, in
// one round trip. It is meant to be used again: [Store.NewRead] takes one from a
// pool and [Read.Release] gives it back. Adding a key allocates nothing once the
// buffers have grown. It is not safe for concurrent use.
type Read struct {
	store   *Store
	text    []byte // all keys to fetch, one after the other
	ends    []int  // where each key ends in text
	slots   []int  // which row each key is of
	markers []marker
	keys    []string // views into text
	args    []any    // "MGET", then pointers to keys
	reply   bulks
	fetched [][]byte // views into reply, or nil, markers among them
	rows    [][]byte // in the order of Add
	filling bool
	marked  bool
	marks   []map[ingest.PartitionID]int64 // of the bucket of each row, when marked
	copies  copies
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

// Release gives the Read back; the rows that it returned must not be used any more. Of nil
// there is nothing to give back.
func (r *Read) Release() {
	if r == nil {
		return
	}
	r.text, r.ends, r.slots, r.markers = r.text[:0], r.ends[:0], r.slots[:0], r.markers[:0]
	clear(r.rows) // copies are others' memory
	if r.copies.use {
		r.copies.abandon(r, errReleased)
	}
	r.copies.reset()
	r.rows, r.filling, r.store, r.marked, r.marks = r.rows[:0], false, nil, false, nil
	if cap(r.reply.text) > maxPooled {
		r.reply = bulks{}
	}
	reads.Put(r)
}

// Add asks for the row of an encoded entity key. The first key added has index 0 in
// [Read.Row].
func (r *Read) Add(view *View, entityKey []byte) {
	if r.copies.use && view.near > 0 && !r.marked {
		r.addNear(view, entityKey)
		return
	}
	r.fetch(view, entityKey)
}

// fetch asks for a row from Redis.
func (r *Read) fetch(view *View, entityKey []byte) {
	bucket := featurestore.Bucket(entityKey)
	r.text = append(append(r.text, view.stems[bucket]...), entityKey...)
	r.ends, r.slots = append(r.ends, len(r.text)), append(r.slots, len(r.rows))
	r.rows = append(r.rows, nil)
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

// MaxRead bounds the time of a read whose caller has no deadline, or a later one.
const MaxRead = 2 * time.Second

// Do fetches the rows. It fails with featurestore.Unavailable when the store does not
// answer in time, and with featurestore.Exhausted when the rows are too large together.
func (r *Read) Do(ctx context.Context) error {
	if err := r.fetchAll(ctx); err != nil {
		return r.copies.settle(r, err)
	}
	return r.copies.keep(ctx, r)
}

var errTooMany = featurestore.Errorf(featurestore.Exhausted, "the rows of this request are more than %d MiB; ask for fewer", maxReply>>20)

// fetchAll fetches what is to be fetched, if anything: what needs no row at all is answered too.
func (r *Read) fetchAll(ctx context.Context) (err error) {
	if len(r.ends) == 0 {
		return nil
	}
	deadline, ok := ctx.Deadline()
	turn, err := r.store.gate.enter(len(r.ends), deadline)
	if err != nil {
		return err
	}
	defer func() { r.store.gate.leave(turn, err == nil) }()
	if !ok || deadline.Sub(turn.start) > MaxRead {
		deadline = turn.start.Add(MaxRead)
	}
	ctx, cancel := r.until(ctx, deadline)
	defer cancel()
	rows := len(r.ends)
	r.makeKeys()
	if err := r.ask(ctx, rows); err != nil {
		return err
	}
	r.place(rows)
	return nil
}

// until is a context that ends at the deadline, and the end of it.
func (r *Read) until(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if r.marked || r.store.cluster { // which go-redis asks again and again, and pauses between
		return context.WithDeadline(ctx, deadline)
	}
	return Until(ctx, deadline), func() {}
}

// makeKeys adds the markers to the text, after the rows, and cuts it into keys.
func (r *Read) makeKeys() {
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
}

// ask fetches the keys, of which so many are of rows, and says what kind of failure there was.
func (r *Read) ask(ctx context.Context, rows int) (err error) {
	if r.marked {
		// A request is answered though its watermarks cannot be read.
		r.marked = r.fetchMarked(ctx, rows) == nil
	}
	switch {
	case r.marked:
	case r.store.cluster:
		err = r.fetchCluster(ctx)
	default:
		err = r.fetchServer(ctx)
	}
	if errors.Is(err, errTooLarge) {
		return errTooMany
	}
	if err != nil {
		return noAnswer(err)
	}
	return nil
}

// noAnswer is in the same words whatever the cause, which the log has: callers and the log tell failures apart by them.
func noAnswer(cause error) *featurestore.Error {
	return featurestore.Errorf(featurestore.Unavailable, "the online store does not answer").Because(cause)
}

// place puts what was fetched, so many rows and then the markers, where it belongs.
func (r *Read) place(rows int) {
	for _, live := range r.fetched[rows:] {
		r.filling = r.filling || string(live) != "live"
	}
	for i, at := range r.slots {
		r.rows[at] = r.fetched[i]
	}
}

func (r *Read) appendMarker(dst []byte, m marker) []byte {
	if r.store.cluster {
		dst = appendTag(dst, m.view.prefix, m.bucket)
	} else {
		dst = append(append(dst, m.view.prefix...), '}')
	}
	return append(dst, "#live"...)
}

// fetchServer reads all keys by one MGET. The reply is copied once, from the connection,
// and the rows are views into it.
func (r *Read) fetchServer(ctx context.Context) error {
	r.args = append(r.args[:0], "MGET")
	for i := range r.keys {
		r.args = append(r.args, &r.keys[i])
	}
	err := r.reply.took(r.store.client.Process(ctx, r.command(ctx)))
	if deadline, _ := ctx.Deadline(); err != nil && ctx.Err() == nil && time.Now().Before(deadline) && !errors.Is(err, errTooLarge) {
		// A connection that the server had closed: the pool has others, or makes one.
		err = r.reply.took(r.store.client.Process(ctx, r.command(ctx)))
	}
	if err != nil {
		return err
	}
	r.fetched, err = r.reply.appendTo(r.fetched[:0])
	if err == nil && len(r.fetched) != len(r.keys) {
		err = fmt.Errorf("MGET of %d keys answered %d", len(r.keys), len(r.fetched))
	}
	return err
}

func (r *Read) command(ctx context.Context) redis.Cmder {
	r.reply.reset()
	return redis.NewRawWriteToCmd(ctx, &r.reply, r.args...)
}

var errReleased = errors.New("the read was given up")

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
	r.fetched = append(r.fetched[:0], make([][]byte, len(r.keys))...)
	for stem, indexes := range groups {
		for i, v := range cmds[stem].Val() {
			if text, ok := v.(string); ok {
				r.fetched[indexes[i]] = []byte(text)
			}
		}
	}
	return nil
}

// loadRows is how many rows Load asks for at once.
const loadRows = 512

// Load returns the rows of encoded entity keys, nil where there is none, in memory of
// their own.
func (s *Store) Load(ctx context.Context, view *ingest.View, keys [][]byte) ([][]byte, error) {
	v := NewView(view.Namespace, view.View)
	rows := make([][]byte, 0, len(keys))
	for part := range slices.Chunk(keys, loadRows) {
		var err error
		if rows, err = s.loadPart(ctx, v, part, rows); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// loadPart appends the rows of some keys. Rows that are too large together are asked for in
// halves.
func (s *Store) loadPart(ctx context.Context, view *View, keys [][]byte, rows [][]byte) ([][]byte, error) {
	r := s.NewRead()
	defer r.Release()
	for _, key := range keys {
		r.Add(view, key)
	}
	err := r.Do(ctx)
	if errors.Is(err, errTooMany) && len(keys) > 1 {
		half := len(keys) / 2
		if rows, err = s.loadPart(ctx, view, keys[:half], rows); err != nil {
			return nil, err
		}
		return s.loadPart(ctx, view, keys[half:], rows)
	}
	if err != nil {
		return nil, err
	}
	for i := range keys {
		rows = append(rows, bytes.Clone(r.Row(i)))
	}
	return rows, nil
}
