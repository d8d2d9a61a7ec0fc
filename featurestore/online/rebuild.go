package online

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// ErrRebuildLost means that Redis does not have what a rebuild had written: it came back
// without its data, a replica took over that lacked some, or somebody else rebuilds.
var ErrRebuildLost = errors.New("rows that were written are not in Redis: it lost data, or another rebuild began")

// Step is how far a rebuild has got.
type Step struct {
	// Number counts chunks of rows, from 0 for none.
	Number int
	// Run tells rebuilds apart.
	Run string
	// Last is the key of the last entity that is done, empty for none.
	Last []byte
}

// String is the step as Redis keeps it; parseStep is the inverse.
func (s Step) String() string { return strconv.Itoa(s.Number) + " " + s.Run + " " + string(s.Last) }

func parseStep(text string) (s Step, err error) {
	parts := strings.SplitN(text, " ", 3)
	if len(parts) != 3 {
		return s, fmt.Errorf("the step %q of a rebuild cannot be read", text)
	}
	s.Run, s.Last = parts[1], []byte(parts[2])
	if s.Number, err = strconv.Atoi(parts[0]); err != nil {
		return s, fmt.Errorf("the step %q of a rebuild cannot be read", text)
	}
	return s, nil
}

// A bucket's step moves in the script that writes its rows. So a bucket has all rows of the
// steps that it says it has done, whatever Redis loses on the way.
func stepKey(prefix string, bucket int) string { return tag(prefix, bucket) + "#rebuild" }

// planKey holds what the caller wants to know of a rebuild when it goes on.
func planKey(prefix string) string { return prefix + "}#rebuild" }

// BeginRebuild takes a generation out of service and forgets its watermarks and then its
// rows: from then on no commit is accepted, and rows may be written without regard to what
// was there. The generation must be one that ingest leaves out, and the caller the only one
// who rebuilds it. It looks at every key of the server. plan is kept for [Store.Rebuild].
func (s *Store) BeginRebuild(ctx context.Context, view *ingest.View, first Step, plan []byte) error {
	pre := prefix(view.Namespace, view.View)
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, stem := range s.markers(pre) {
			pipe.Set(ctx, stem+"#live", "filling", 0)
			pipe.Del(ctx, stem+"#fill")
		}
		for b := range featurestore.Buckets {
			pipe.Del(ctx, watermarksKey(pre, b))
			pipe.Del(ctx, stepKey(pre, b))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("beginning to fill a view in Redis: %w", err)
	}
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return deleteRows(ctx, master, pre) })
	} else {
		err = deleteRows(ctx, s.client, pre)
	}
	if err != nil {
		return fmt.Errorf("deleting the rows of a view from Redis: %w", err)
	}
	return s.setSteps(ctx, pre, first, plan)
}

// setSteps sets the plan, and the steps of all buckets.
func (s *Store) setSteps(ctx context.Context, pre string, step Step, plan []byte) error {
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, planKey(pre), plan, 0)
		for b := range featurestore.Buckets {
			pipe.Set(ctx, stepKey(pre, b), step.String(), 0)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("beginning to fill a view in Redis: %w", err)
	}
	return nil
}

// deleteRows deletes the rows of a generation from one server.
func deleteRows(ctx context.Context, server redis.Cmdable, pre string) error {
	const page = 5000
	var cursor uint64
	for {
		keys, next, err := server.Scan(ctx, cursor, pre+"/*", page).Result()
		if err != nil {
			return err
		}
		keys = slices.DeleteFunc(keys, func(key string) bool { return !strings.Contains(key, "}:") }) // markers and watermarks
		if _, err := server.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, key := range keys { // of many slots
				pipe.Unlink(ctx, key)
			}
			return nil
		}); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Rebuild is how far a rebuild had got that was stopped, and its plan; nil when there is none
// that can go on: every bucket must have its part of it, and no watermarks. The buckets stand
// where the last of them stood after it.
func (s *Store) Rebuild(ctx context.Context, view *ingest.View) (step *Step, plan []byte, err error) {
	pre := prefix(view.Namespace, view.View)
	var of *redis.StringCmd
	steps := make([]*redis.StringCmd, featurestore.Buckets)
	marks := make([]*redis.IntCmd, featurestore.Buckets)
	_, err = s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		of = pipe.Get(ctx, planKey(pre))
		for b := range steps {
			steps[b] = pipe.Get(ctx, stepKey(pre, b))
			marks[b] = pipe.Exists(ctx, watermarksKey(pre, b))
		}
		return nil
	})
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("looking for a rebuild in Redis: %w", err)
	}
	for b := range steps {
		found, err := parseStep(steps[b].Val())
		if err != nil {
			return nil, nil, err
		}
		if marks[b].Val() != 0 || step != nil && found.Run != step.Run {
			return nil, nil, nil
		}
		if step == nil || found.Number < step.Number {
			step = &found
		}
	}
	plan = []byte(of.Val())
	return step, plan, s.setSteps(ctx, pre, *step, plan)
}

// PutRows writes the rows of a step of a rebuild; their stamps do not matter. It fails with
// [ErrRebuildLost] where a bucket is not as it was after the step before.
func (s *Store) PutRows(ctx context.Context, view *ingest.View, from, to Step, rows []ingest.RowWrite) error {
	pre := prefix(view.Namespace, view.View)
	calls := make([]call, featurestore.Buckets)
	for b := range calls {
		calls[b] = call{keys: []string{stepKey(pre, b)}, args: []any{from.String(), to.String()}}
	}
	for i := range rows {
		row, c := &rows[i], &calls[featurestore.Bucket(rows[i].Key)]
		expire := ""
		if row.Expire != 0 {
			expire = strconv.FormatInt(row.Expire/1000, 10)
		}
		c.keys = append(c.keys, rowKey(pre, row.Key))
		c.args = append(c.args, expire, row.Row)
	}
	if err := s.step(ctx, putScript, calls); err != nil {
		return fmt.Errorf("writing rows to Redis: %w", err)
	}
	return nil
}

// step makes a call for each bucket, which does nothing where the bucket's step is another.
func (s *Store) step(ctx context.Context, script *redis.Script, calls []call) error {
	replies, err := s.eval(ctx, script, calls)
	if err != nil {
		return err
	}
	for _, reply := range replies {
		done, err := reply.Bool()
		if err != nil {
			return err
		}
		if !done {
			return ErrRebuildLost
		}
	}
	return nil
}

// EndRebuild says what the rows are the fold of: the events below the marks. Ingest takes
// the generation up from there, and it comes into service when every partition has reached
// its target. Until the last bucket has its marks ingest still leaves it out. last is the
// step that is done; see PutRows.
func (s *Store) EndRebuild(ctx context.Context, view *ingest.View, last Step, marks, targets map[ingest.PartitionID]int64) error {
	pre := prefix(view.Namespace, view.View)
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, stem := range s.markers(pre) {
			pipe.HSet(ctx, stem+"#fill", fields(targets)...)
		}
		return nil
	})
	calls := make([]call, featurestore.Buckets)
	for b := range calls {
		calls[b] = call{keys: []string{stepKey(pre, b), watermarksKey(pre, b)}, args: append([]any{last.String()}, fields(marks)...)}
	}
	if err == nil {
		err = s.step(ctx, endScript, calls)
	}
	if err == nil {
		err = s.client.Del(ctx, planKey(pre)).Err()
	}
	if err != nil {
		return fmt.Errorf("writing watermarks to Redis: %w", err)
	}
	return nil
}

func fields(offsets map[ingest.PartitionID]int64) []any {
	var list []any
	for id, next := range offsets {
		list = append(list, field(id), strconv.FormatInt(next, 10))
	}
	return list
}
