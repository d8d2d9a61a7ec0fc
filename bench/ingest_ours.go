package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
)

// limit bounds each phase.
const limit = 5 * time.Minute

// ours empties the stores, starts the service with the given groups and waits until each has
// everything. It returns events a second by group, and notes what was written where Redis
// was.
func (s *ingestStack) ours(ctx context.Context, r *IngestResult, groups ...string) (map[string]float64, error) {
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	before, err := s.redisNumbers(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.startService(ctx, groups); err != nil {
		return nil, err
	}
	done := map[string]func(context.Context) (bool, error){onlineGroup: s.onlineDone, historyGroup: s.historyDone}
	rates, err := together(ctx, r.Events, groups, func(ctx context.Context, group string) error { return s.wait(ctx, done[group]) })
	if err == nil && slices.Contains(groups, onlineGroup) {
		err = s.noteRows(ctx, r, before)
	}
	return rates, errors.Join(err, s.stopService())
}

// together does something for each group at once and returns events a second of each.
func together(ctx context.Context, events int, groups []string, do func(context.Context, string) error) (map[string]float64, error) {
	rates, times := map[string]float64{}, make([]float64, len(groups))
	start := time.Now()
	running, ctx := errgroup.WithContext(ctx)
	for i, group := range groups {
		running.Go(func() error {
			err := do(ctx, group)
			times[i] = perSecond(events, start)
			return err
		})
	}
	err := running.Wait()
	for i, group := range groups {
		rates[group] = times[i]
	}
	return rates, err
}

// empty forgets all rows and all history of the namespace.
func (s *ingestStack) empty(ctx context.Context) error {
	if err := s.redis.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("emptying Redis: %w", err)
	}
	for _, statement := range []string{
		"DROP SCHEMA IF EXISTS onehop_" + s.catalog.Namespace + " CASCADE", "DELETE FROM onehop.offsets", "CHECKPOINT",
	} {
		if _, err := s.pool.Exec(ctx, statement); err != nil {
			return fmt.Errorf("emptying Postgres: %w", err)
		}
	}
	return nil
}

// noteRows notes what was written to Redis, and how often rivals met.
func (s *ingestStack) noteRows(ctx context.Context, r *IngestResult, before redisNumbers) error {
	after, err := s.redisNumbers(ctx)
	if err != nil {
		return err
	}
	r.RowsWritten = after.sets - before.sets
	r.BytesPerRow = float64(after.memory-before.memory) / float64(max(1, after.keys))
	if r.RowBytes, err = s.meanRow(ctx); err != nil {
		return err
	}
	s.conflicts, err = s.metric(ctx, "conflict")
	s.commits = after.scripts - before.scripts
	return err
}

// metric is the sum of the service's counters of view events of one outcome.
func (s *ingestStack) metric(ctx context.Context, outcome string) (sum int64, err error) {
	const name = "onehop_ingest_view_events_total"
	found, err := scrape(ctx, s.admin, name)
	for _, of := range found[name] {
		if of.labels["outcome"] == outcome {
			sum += int64(of.value)
		}
	}
	return sum, err
}

// wait waits for a group.
func (s *ingestStack) wait(ctx context.Context, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond) // asking costs the servers too
	defer ticker.Stop()
	for {
		ok, err := done(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case err := <-s.done:
			s.done <- err
			return errors.Join(errors.New("the ingest service ended"), err)
		case <-ctx.Done():
			return fmt.Errorf("not done after %s: %w", limit, ctx.Err())
		case <-ticker.C:
		}
	}
}

// onlineDone says whether some bucket of every view has the last record of every
// partition: batches are committed whole, so then all buckets with events have theirs.
func (s *ingestStack) onlineDone(ctx context.Context) (bool, error) {
	for i := range s.catalog.Views {
		view, err := ingest.NewView(s.catalog, &s.catalog.Views[i])
		if err != nil {
			return false, err
		}
		for partition, end := range s.ends {
			marks, err := s.store.Marks(ctx, view, ingest.PartitionID{Topic: s.topicID, Partition: partition})
			if err != nil {
				return false, err
			}
			reached := int64(0)
			for _, m := range marks {
				reached = max(reached, m.Next)
			}
			if reached < end {
				return false, nil
			}
		}
	}
	return true, nil
}

func (s *ingestStack) historyDone(ctx context.Context) (bool, error) {
	var done, want int64
	for _, end := range s.ends {
		want += end
	}
	err := s.pool.QueryRow(ctx, `SELECT coalesce(sum(next), 0) FROM onehop.offsets WHERE namespace = $1`, s.catalog.Namespace).Scan(&done)
	if err != nil {
		return false, fmt.Errorf("asking Postgres for the offsets: %w", err)
	}
	if done < want {
		return false, nil
	}
	if s.table == nil {
		s.table, err = history.Open(ctx, s.pool, s.catalog.Namespace, &s.catalog.Sources[0], [][]string{{"user_id"}, {"movie_id"}})
		if err != nil {
			return false, fmt.Errorf("looking at history: %w", err)
		}
	}
	return s.table.Indexed(ctx) // rows that cannot be looked up are not done
}

// redisNumbers are counters of the Redis server.
type redisNumbers struct{ memory, keys, sets, scripts int64 }

var (
	usedMemory = regexp.MustCompile(`used_memory:(\d+)`)
	setCalls   = regexp.MustCompile(`cmdstat_set:calls=(\d+)`)
	shaCalls   = regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`)
)

func (s *ingestStack) redisNumbers(ctx context.Context) (n redisNumbers, err error) {
	info, err := s.redis.Info(ctx, "memory", "commandstats").Result()
	if err != nil {
		return n, fmt.Errorf("asking Redis for its counters: %w", err)
	}
	number := func(re *regexp.Regexp) int64 {
		if m := re.FindStringSubmatch(info); m != nil {
			v, _ := strconv.ParseInt(m[1], 10, 64)
			return v
		}
		return 0
	}
	n.memory, n.sets, n.scripts = number(usedMemory), number(setCalls), number(shaCalls)
	n.keys, err = s.redis.DBSize(ctx).Result()
	return n, err
}

// meanRow is the mean size of a sample of rows.
func (s *ingestStack) meanRow(ctx context.Context) (float64, error) {
	var total, n int64
	for range 500 {
		key, err := s.redis.RandomKey(ctx).Result()
		if err != nil {
			return 0, fmt.Errorf("sampling rows: %w", err)
		}
		if size, err := s.redis.StrLen(ctx, key).Result(); err == nil { // hashes are not rows
			total, n = total+size, n+1
		}
	}
	return float64(total) / float64(max(1, n)), nil
}
