package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/internal/generate"
)

// limit bounds each phase.
const limit = 5 * time.Minute

// ours lets the service ingest the topic and measures both halves.
func (s *ingestStack) ours(ctx context.Context, r *IngestResult) error {
	before, err := s.redisNumbers(ctx)
	if err != nil {
		return err
	}
	if err := s.startService(ctx); err != nil {
		return err
	}
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := s.wait(ctx, s.onlineDone)
		r.Online = perSecond(r.Events, start)
		return err
	})
	group.Go(func() error {
		err := s.wait(ctx, s.historyDone)
		r.History = perSecond(r.Events, start)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	after, err := s.redisNumbers(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	r.RowsWritten = after.sets - before.sets
	r.BytesPerRow = float64(after.memory-before.memory) / float64(max(1, after.keys))
	r.RowBytes, err = s.meanRow(context.WithoutCancel(ctx))
	return err
}

// wait polls until a half is done.
func (s *ingestStack) wait(ctx context.Context, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
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
	err := s.pool.QueryRow(ctx, `SELECT coalesce(sum(next), 0) FROM onehop.offsets WHERE namespace = 'bench'`).Scan(&done)
	if err != nil {
		return false, fmt.Errorf("asking Postgres for the offsets: %w", err)
	}
	return done >= want, nil
}

// redisNumbers are counters of the Redis server.
type redisNumbers struct{ memory, keys, sets int64 }

var (
	usedMemory = regexp.MustCompile(`used_memory:(\d+)`)
	setCalls   = regexp.MustCompile(`cmdstat_set:calls=(\d+)`)
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
	n.memory, n.sets = number(usedMemory), number(setCalls)
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

// probe produces single events and polls the user's row until it has them.
func (s *ingestStack) probe(ctx context.Context, probes int, r *IngestResult) error {
	programs, err := plan.Programs(s.catalog)
	if err != nil {
		return err
	}
	reader, err := programs["user_ratings"].Reader(nil)
	if err != nil {
		return err
	}
	view, err := ingest.NewView(s.catalog, s.catalog.View("user_ratings"))
	if err != nil {
		return err
	}
	var times []time.Duration
	for i := range probes {
		user := int64(1_000_000 + i)
		key, err := view.Entity.AppendKey(nil, []featurestore.Value{featurestore.IntValue(user)})
		if err != nil {
			return err
		}
		start := time.Now()
		record := &kgo.Record{Topic: s.catalog.Sources[0].Topic, Key: key, Value: generate.AppendRating(nil, user, 1, 5, start.UnixMicro())}
		if err := s.kafka.ProduceSync(ctx, record).FirstErr(); err != nil {
			return fmt.Errorf("producing: %w", err)
		}
		for visible := false; !visible; {
			rows, err := s.store.Load(ctx, view, [][]byte{key})
			if err != nil {
				return err
			}
			visible = rows[0] != nil && reader.Newest(rows[0]) >= start.UnixMicro()
			if time.Since(start) > 30*time.Second {
				return errors.New("an event was not visible after 30 s")
			}
		}
		times = append(times, time.Since(start))
	}
	r.FreshnessP50, r.FreshnessP99 = percentile(times, .5)/1000, percentile(times, .99)/1000
	return nil
}
