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
	outcomes := make([]ingest.Outcome, len(commits))
	pending := make([]int, len(commits))
	for i := range pending {
		pending[i] = i
	}
	for range 2 { // once more when the server has forgotten the script
		cmds := make([]*redis.Cmd, len(pending))
		_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, at := range pending {
				keys, args := commitArgs(&commits[at])
				cmds[i] = commitScript.EvalSha(ctx, pipe, keys, args...)
			}
			return nil
		})
		if err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT") {
			return nil, fmt.Errorf("writing rows to Redis: %w", err)
		}
		var missing []int
		for i, cmd := range cmds {
			reply, err := cmd.Slice()
			if redis.HasErrorPrefix(err, "NOSCRIPT") {
				missing = append(missing, pending[i])
				continue
			}
			if err == nil {
				outcomes[pending[i]], err = parseOutcome(reply)
			}
			if err != nil {
				return nil, fmt.Errorf("writing rows to Redis: %w", err)
			}
		}
		if pending = missing; len(pending) == 0 {
			return outcomes, nil
		}
		if err := s.load(ctx, commitScript); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("writing rows to Redis: the server does not keep its scripts")
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
