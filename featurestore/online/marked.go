package online

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore/ingest"
)

// Mark asks for the watermarks of the rows' buckets too, each as of the moment at which its
// rows are read. It is called before Do, and makes the read slower; see BenchmarkRead.
func (r *Read) Mark() { r.marked = true }

// Marked says whether the watermarks were read.
func (r *Read) Marked() bool { return r.marked }

// Marks are the watermarks up to which the i-th row, which may be none, is the fold of its
// events. The caller must not change them; rows of a bucket share them.
func (r *Read) Marks(i int) map[ingest.PartitionID]int64 { return r.marks[i] }

// Bytes is about how much memory the rows take.
func (r *Read) Bytes() int {
	n := 0
	for _, row := range r.rows {
		n += len(row)
	}
	return n
}

// lookScript reads rows and the watermarks of their buckets at one moment.
//
//	KEYS: watermarks…, row…      ARGV: how many of the keys are watermarks
//
// It answers each hash of watermarks as HGETALL does, and then all rows as MGET does.
var lookScript = redis.NewScript(`
local answer, buckets = {}, tonumber(ARGV[1])
for i = 1, buckets do
  answer[i] = redis.call('HGETALL', KEYS[i])
end
answer[buckets + 1] = redis.call('MGET', unpack(KEYS, buckets + 1))
return answer
`)

// lookRows is how many rows a call of the script reads: a Redis answers nobody else meanwhile.
const lookRows = 512

// look is one call of the script: some rows, and the buckets that they are in.
type look struct {
	buckets []string    // stems of their keys
	rows    []int       // of the keys of the read, markers among them
	bucket  map[int]int // of buckets, for each row
}

// fetchMarked reads all keys, of which the first are rows, with the watermarks of the rows, in
// one round trip.
func (r *Read) fetchMarked(ctx context.Context, rows int) error {
	all := append(r.fetched[:0], make([][]byte, len(r.keys))...)
	looks := r.looks(rows)
	calls := make([]call, len(looks))
	for i, l := range looks {
		calls[i] = r.callOf(l)
	}
	replies, err := r.store.eval(ctx, lookScript, calls)
	if err != nil {
		return err
	}
	r.marks = make([]map[ingest.PartitionID]int64, rows)
	size := 0
	for i, reply := range replies {
		n, err := r.takeLook(reply, all, looks[i])
		if err != nil {
			return fmt.Errorf("reading rows with their watermarks: %w", err)
		}
		if size += n; size > maxReply {
			return errTooLarge
		}
	}
	r.fetched = all
	return nil
}

// looks are the calls of the script for the keys: as few as may be on a server, and on a cluster
// one for each bucket, because its keys are in one slot; the bucket's marker is too.
func (r *Read) looks(rows int) (looks []*look) {
	open := map[string]*look{} // those that have room; a server has one
	for i := range r.keys {
		stem := r.keys[i][:strings.IndexByte(r.keys[i], '}')+1]
		of := ""
		if r.store.cluster {
			of = stem
		}
		l := open[of]
		if l == nil || len(l.rows) == lookRows {
			l = &look{bucket: map[int]int{}}
			open[of], looks = l, append(looks, l)
		}
		l.rows = append(l.rows, i)
		if i >= rows {
			continue // a marker
		}
		at := slices.Index(l.buckets, stem)
		if at < 0 {
			at = len(l.buckets)
			l.buckets = append(l.buckets, stem)
		}
		l.bucket[i] = at
	}
	return looks
}

func (r *Read) callOf(l *look) call {
	c := call{keys: make([]string, 0, len(l.buckets)+len(l.rows)), args: []any{len(l.buckets)}}
	for _, stem := range l.buckets {
		c.keys = append(c.keys, stem+"#watermarks")
	}
	for _, i := range l.rows {
		c.keys = append(c.keys, r.keys[i])
	}
	return c
}

// takeLook takes the answer of one call and says how long its rows are.
func (r *Read) takeLook(reply *redis.Cmd, all [][]byte, l *look) (size int, err error) {
	parts, err := reply.Slice()
	if err != nil {
		return 0, err
	}
	if len(parts) != len(l.buckets)+1 {
		return 0, errReply
	}
	marks := make([]map[ingest.PartitionID]int64, len(l.buckets))
	for i := range marks {
		if marks[i], err = parseMarks(parts[i]); err != nil {
			return 0, err
		}
	}
	rows, ok := parts[len(l.buckets)].([]any)
	if !ok || len(rows) != len(l.rows) {
		return 0, errReply
	}
	for i, at := range l.rows {
		if at < len(r.marks) {
			r.marks[at] = marks[l.bucket[at]]
		}
		if text, ok := rows[i].(string); ok {
			all[at] = []byte(text)
			size += len(text)
		}
	}
	return size, nil
}

func parseMarks(reply any) (map[ingest.PartitionID]int64, error) {
	pairs, ok := reply.([]any)
	if !ok || len(pairs)%2 != 0 {
		return nil, errReply
	}
	marks := make(map[ingest.PartitionID]int64, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		next, _ := pairs[i+1].(string)
		id, err := parseField(name)
		if err == nil {
			marks[id], err = strconv.ParseInt(next, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("the watermark %s = %s cannot be read: %w", name, next, err)
		}
	}
	return marks, nil
}
