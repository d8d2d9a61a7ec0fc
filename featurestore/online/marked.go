package online

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore/ingest"
)

// Mark asks for the watermarks of the rows' buckets too, each as of the moment at which its
// rows are read. It is called before Do; the read costs a script call for each bucket then.
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

// lookScript reads rows of a bucket and its watermarks at one moment.
//
//	KEYS: watermarks, row…
//
// It answers the watermarks as HGETALL does, and then each row.
var lookScript = redis.NewScript(`
local answer = {redis.call('HGETALL', KEYS[1])}
for i = 2, #KEYS do
  answer[i] = redis.call('GET', KEYS[i])
end
return answer
`)

// lookKeys is how many rows a call of the script reads: a Redis answers nobody else meanwhile.
const lookKeys = 512

// fetchMarked reads the markers, and then the first rows of the keys, bucket by bucket. The markers
// come first: a fill that begins between the two is then seen as none, and its rows, which
// are the fold up to their watermarks too, are as good.
func (r *Read) fetchMarked(ctx context.Context, rows int) error {
	all := append(r.rows[:0], make([][]byte, len(r.keys))...)
	cmds := make([]*redis.StringCmd, len(r.keys))
	_, err := r.store.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := rows; i < len(r.keys); i++ {
			cmds[i] = pipe.Get(ctx, r.keys[i])
		}
		return nil
	})
	for i := rows; i < len(r.keys); i++ {
		text, missing := cmds[i].Result()
		switch {
		case missing == nil:
			all[i] = []byte(text)
		case !errors.Is(missing, redis.Nil):
			return missing
		}
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	calls, of := r.looks(rows)
	replies, err := r.store.eval(ctx, lookScript, calls)
	if err != nil {
		return err
	}
	r.marks = make([]map[ingest.PartitionID]int64, rows)
	size := 0
	for i, reply := range replies {
		n, err := r.takeLook(reply, all, of[i])
		if err != nil {
			return fmt.Errorf("reading rows with their watermarks: %w", err)
		}
		if size += n; size > maxReply {
			return errTooLarge
		}
	}
	r.rows = all
	return nil
}

// looks are the script calls for the first rows of the keys, and the rows of each.
func (r *Read) looks(rows int) (calls []call, of [][]int) {
	open := map[string]int{} // the call of each bucket that has room
	for i := range rows {
		key := r.keys[i]
		stem := key[:strings.IndexByte(key, '}')+1]
		at, ok := open[stem]
		if !ok || len(of[at]) == lookKeys {
			at = len(calls)
			open[stem] = at
			calls, of = append(calls, call{keys: []string{stem + "#watermarks"}}), append(of, nil)
		}
		calls[at].keys, of[at] = append(calls[at].keys, key), append(of[at], i)
	}
	return calls, of
}

// takeLook takes the answer of one call and says how long its rows are.
func (r *Read) takeLook(reply *redis.Cmd, all [][]byte, rows []int) (size int, err error) {
	parts, err := reply.Slice()
	if err != nil {
		return 0, err
	}
	if len(parts) != 1+len(rows) {
		return 0, errReply
	}
	marks, err := parseMarks(parts[0])
	if err != nil {
		return 0, err
	}
	for i, at := range rows {
		r.marks[at] = marks
		if text, ok := parts[1+i].(string); ok {
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
