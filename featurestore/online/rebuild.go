package online

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// BeginRebuild takes a generation out of service and forgets its watermarks and then its
// rows: from then on no commit is accepted, and rows may be written without regard to what
// was there. The generation must be one that ingest leaves out, and the caller the only one
// who rebuilds it. It looks at every key of the server.
func (s *Store) BeginRebuild(ctx context.Context, view *ingest.View) error {
	pre := prefix(view.Namespace, view.View)
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, stem := range s.markers(pre) {
			pipe.Set(ctx, stem+"#live", "filling", 0)
			pipe.Del(ctx, stem+"#fill")
		}
		for b := range featurestore.Buckets {
			pipe.Del(ctx, watermarksKey(pre, b))
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

// PutRows writes rows of a generation that is being rebuilt; their stamps do not matter.
func (s *Store) PutRows(ctx context.Context, view *ingest.View, rows []ingest.RowWrite) error {
	pre := prefix(view.Namespace, view.View)
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := range rows {
			key := string(appendRowKey(nil, pre, rows[i].Key))
			switch {
			case rows[i].Row == nil:
				pipe.Del(ctx, key)
			case rows[i].Expire == 0:
				pipe.Set(ctx, key, rows[i].Row, 0)
			default:
				pipe.Do(ctx, "SET", key, rows[i].Row, "PXAT", rows[i].Expire/1000)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing rows to Redis: %w", err)
	}
	return nil
}

// EndRebuild says what the rows are the fold of: the events below the marks. Ingest takes
// the generation up from there, and it comes into service when every partition has reached
// its target. Until the last bucket has its marks ingest still leaves it out.
func (s *Store) EndRebuild(ctx context.Context, view *ingest.View, marks, targets map[ingest.PartitionID]int64) error {
	pre := prefix(view.Namespace, view.View)
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, stem := range s.markers(pre) {
			pipe.HSet(ctx, stem+"#fill", fields(targets)...)
		}
		return nil
	})
	if err == nil {
		_, err = s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for b := range featurestore.Buckets {
				pipe.HSet(ctx, watermarksKey(pre, b), fields(marks)...)
			}
			return nil
		})
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
