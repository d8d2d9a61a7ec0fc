package online

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore/ingest"
)

// Commit tries each commit by one script call, all of them in one pipeline.
func (s *Store) Commit(ctx context.Context, commits []ingest.Commit) ([]ingest.Outcome, error) {
	calls := make([]call, len(commits))
	for i := range commits {
		calls[i].keys, calls[i].args = commitArgs(&commits[i])
	}
	replies, err := s.eval(ctx, commitScript, calls)
	outcomes := make([]ingest.Outcome, len(commits))
	for i := range replies {
		var reply []any
		if reply, err = replies[i].Slice(); err == nil {
			outcomes[i], err = parseOutcome(reply)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("writing rows to Redis: %w", err)
	}
	return outcomes, nil
}

// call is one call of a script; its keys are in one slot.
type call struct {
	keys []string
	args []any
}

// eval makes all calls of a script in one pipeline, and once more those for which a server had
// forgotten it. On a cluster, calls one by one would take a round trip for each bucket.
func (s *Store) eval(ctx context.Context, script *redis.Script, calls []call) ([]*redis.Cmd, error) {
	replies := make([]*redis.Cmd, len(calls))
	pending := make([]int, len(calls))
	for i := range pending {
		pending[i] = i
	}
	for range 2 {
		_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, at := range pending {
				replies[at] = script.EvalSha(ctx, pipe, calls[at].keys, calls[at].args...)
			}
			return nil
		})
		if err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT") {
			return nil, err
		}
		pending = slices.DeleteFunc(pending, func(at int) bool { return !redis.HasErrorPrefix(replies[at].Err(), "NOSCRIPT") })
		if len(pending) == 0 {
			return replies, nil
		}
		if err := s.load(ctx, script); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the server does not keep its scripts")
}

// load loads a script on every master.
func (s *Store) load(ctx context.Context, script *redis.Script) error {
	load := func(ctx context.Context, c *redis.Client) error { return script.Load(ctx, c).Err() }
	var err error
	if c, ok := s.client.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(ctx, load)
	} else {
		err = script.Load(ctx, s.client).Err()
	}
	if err != nil {
		return fmt.Errorf("loading a script into Redis: %w", err)
	}
	return nil
}

func commitArgs(c *ingest.Commit) (keys []string, args []any) {
	pre := prefix(c.View.Namespace, c.View.View)
	keys = make([]string, 1, 1+len(c.Rows))
	args = make([]any, 3, 3+3*len(c.Rows))
	keys[0] = watermarksKey(pre, c.Bucket)
	args[0], args[1], args[2] = field(c.Partition), "", strconv.FormatInt(c.Next, 10)
	if c.Expect != ingest.Missing {
		args[1] = strconv.FormatInt(c.Expect, 10)
	}
	stem := keys[0][:len(keys[0])-len("#watermarks")] + ":"
	for i := range c.Rows {
		row := &c.Rows[i]
		keys = append(keys, stem+string(row.Key))
		stamp, expire := "", ""
		if row.Stamp != 0 {
			stamp = string(binary.LittleEndian.AppendUint64(nil, row.Stamp))
		}
		if row.Expire != 0 {
			expire = strconv.FormatInt(row.Expire/1000, 10)
		}
		args = append(args, stamp, expire, row.Row)
	}
	return keys, args
}

var errReply = errors.New("a script answered in an unknown form")

func parseOutcome(reply []any) (o ingest.Outcome, err error) {
	if len(reply) == 0 {
		return o, errReply
	}
	switch reply[0] {
	case int64(0):
		return o, nil
	case int64(1):
		o.Moved, o.Watermark = true, ingest.Missing
		if text, _ := reply[1].(string); text != "" {
			o.Watermark, err = strconv.ParseInt(text, 10, 64)
		}
		return o, err
	}
	for pair := range slices.Chunk(reply[1:], 2) {
		index, ok := pair[0].(int64)
		row, isText := pair[1].(string)
		if !ok || !isText {
			return o, errReply
		}
		o.Changed = append(o.Changed, int(index))
		if row == "" {
			o.Current = append(o.Current, nil)
		} else {
			o.Current = append(o.Current, []byte(row))
		}
	}
	return o, nil
}
