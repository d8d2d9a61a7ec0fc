package online

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Marks returns where each bucket stands for a partition, in one round trip.
func (s *Store) Marks(ctx context.Context, view *ingest.View, id ingest.PartitionID) ([]ingest.Mark, error) {
	pre := prefix(view.Namespace, view.View)
	hashes := make([]*redis.MapStringStringCmd, featurestore.Buckets)
	var live []*redis.StringCmd
	var fill []*redis.StringCmd
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for b := range hashes {
			hashes[b] = pipe.HGetAll(ctx, watermarksKey(pre, b))
		}
		for _, stem := range s.markers(pre) {
			live = append(live, pipe.Get(ctx, stem+"#live"))
			fill = append(fill, pipe.HGet(ctx, stem+"#fill", field(id)))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading watermarks from Redis: %w", err)
	}
	marks := make([]ingest.Mark, len(hashes))
	for b := range marks {
		marker := b % len(live) // all buckets share the only marker of a standalone server
		marks[b], err = mark(hashes[b].Val(), id, live[marker].Val(), fill[marker].Val())
		if err != nil {
			return nil, fmt.Errorf("bucket %d: %w", b, err)
		}
	}
	return marks, nil
}

func mark(watermarks map[string]string, id ingest.PartitionID, live, target string) (m ingest.Mark, err error) {
	m = ingest.Mark{Next: ingest.Missing, Target: ingest.Missing}
	topic := id.Topic.String() + ":"
	for name := range watermarks {
		m.Known = m.Known || strings.HasPrefix(name, topic)
	}
	m.Known = m.Known && live != ""
	if next, ok := watermarks[field(id)]; ok {
		if m.Next, err = strconv.ParseInt(next, 10, 64); err != nil {
			return m, fmt.Errorf("the watermark %q is not a number", next)
		}
	}
	if live == "filling" && target != "" {
		if m.Target, err = strconv.ParseInt(target, 10, 64); err != nil {
			return m, fmt.Errorf("the target %q is not a number", target)
		}
	}
	return m, nil
}

// BeginFill puts up the filling markers, and then gives each unknown bucket a
// watermark for each partition at the start of its log.
func (s *Store) BeginFill(ctx context.Context, view *ingest.View, topic featurestore.TopicID, buckets []int, offsets map[int32]ingest.Offsets) error {
	pre := prefix(view.Namespace, view.View)
	var targets []any
	var starts []string
	for partition, o := range offsets {
		name := field(ingest.PartitionID{Topic: topic, Partition: partition})
		targets = append(targets, name, strconv.FormatInt(o.End, 10))
		starts = append(starts, name, strconv.FormatInt(o.Start, 10))
	}
	stems := s.markers(pre)
	if s.cluster {
		stems = stems[:0]
		for _, b := range buckets {
			stems = append(stems, tag(pre, b))
		}
	}
	fills := make([]call, len(stems))
	for i, stem := range stems {
		fills[i] = call{[]string{stem + "#live", stem + "#fill"}, targets}
	}
	replies, err := s.eval(ctx, fillScript, fills)
	for _, reply := range replies {
		err = errors.Join(err, reply.Err())
	}
	if err != nil {
		return fmt.Errorf("marking buckets in Redis as filling: %w", err)
	}
	_, err = s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, b := range buckets {
			for i := 0; i < len(starts); i += 2 {
				pipe.HSetNX(ctx, watermarksKey(pre, b), starts[i], starts[i+1])
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing the first watermarks to Redis: %w", err)
	}
	return nil
}

// Advance lets the markers become live when every bucket behind them has reached the
// target of every partition.
func (s *Store) Advance(ctx context.Context, view *ingest.View, id ingest.PartitionID) (ingest.State, error) {
	pre := prefix(view.Namespace, view.View)
	stems := s.markers(pre)
	calls := make([]call, len(stems))
	for i, stem := range stems {
		keys := []string{stem + "#live", stem + "#fill"}
		if s.cluster {
			keys = append(keys, watermarksKey(pre, i))
		} else {
			for b := range featurestore.Buckets {
				keys = append(keys, watermarksKey(pre, b))
			}
		}
		calls[i] = call{keys, []any{field(id)}}
	}
	replies, err := s.eval(ctx, advanceScript, calls)
	state := ingest.Live
	for _, reply := range replies {
		var marker string
		if marker, err = reply.Text(); err != nil {
			break
		}
		state = min(state, stateOf(marker))
	}
	if err != nil {
		return ingest.Lost, fmt.Errorf("looking at the markers in Redis: %w", err)
	}
	return state, nil
}

func stateOf(marker string) ingest.State {
	switch marker {
	case "live":
		return ingest.Live
	case "filling":
		return ingest.Filling
	case "behind":
		return ingest.Behind
	default:
		return ingest.Lost
	}
}

// Live says whether the rows of a generation may be served: whether every marker of it
// is there and live.
func (s *Store) Live(ctx context.Context, view *View) (bool, error) {
	var keys []string
	for _, stem := range s.markers(view.prefix) {
		keys = append(keys, stem+"#live")
	}
	cmds := make([]*redis.StringCmd, len(keys))
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, key := range keys {
			cmds[i] = pipe.Get(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("reading the markers in Redis: %w", err)
	}
	for _, cmd := range cmds {
		if cmd.Val() != "live" {
			return false, nil
		}
	}
	return true, nil
}

// Suspend takes a generation out of service: readers are told that it lacks rows. It goes
// back into service when it is filled.
func (s *Store) Suspend(ctx context.Context, view *View) error {
	for _, stem := range s.markers(view.prefix) {
		// Only what is there: a generation without a marker is out of service already.
		if err := s.client.SetXX(ctx, stem+"#live", "filling", 0).Err(); err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("taking a view out of service in Redis: %w", err)
		}
	}
	return nil
}
