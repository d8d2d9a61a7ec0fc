package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
)

// floor does what cannot be done without, for the given groups at once: consume and decode,
// and for online write as many rows of the same size as ours wrote, for history copy the
// events. It returns events a second by group.
func (s *ingestStack) floor(ctx context.Context, r *IngestResult, groups ...string) (map[string]float64, error) {
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	for _, statement := range []string{
		"DROP TABLE IF EXISTS bench_floor",
		`CREATE TABLE bench_floor (event_time timestamptz, record_time timestamptz, topic_id uuid,
			kafka_partition integer, kafka_offset bigint, event_index integer, f_user_id bigint, f_movie_id bigint, f_rating double precision)`,
	} {
		if _, err := s.pool.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("making the floor's table: %w", err)
		}
	}
	rowsPerEvent, owed := float64(r.RowsWritten)/float64(r.Events), 0.0
	row := make([]byte, int(r.RowBytes))
	sinks := map[string]func(context.Context, []featurestore.Event) error{
		onlineGroup: func(ctx context.Context, events []featurestore.Event) error {
			owed += rowsPerEvent * float64(len(events))
			n := int(owed)
			owed -= float64(n)
			return s.setRows(ctx, row, n)
		},
		historyGroup: s.copyRows,
	}
	return together(ctx, r.Events, groups, func(ctx context.Context, group string) error {
		return s.consume(ctx, r.Events, func(events []featurestore.Event) error { return sinks[group](ctx, events) })
	})
}

// consume reads the topic from its start and decodes as the service does, in batches of
// the same size.
func (s *ingestStack) consume(ctx context.Context, events int, do func([]featurestore.Event) error) error {
	source := &s.catalog.Sources[0]
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(source.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return fmt.Errorf("the Kafka client: %w", err)
	}
	defer client.Close()
	decoder := stream.NewDecoder([]stream.Version{{Source: source}}, nil)
	for done := 0; done < events; {
		fetches := client.PollRecords(ctx, 20_000)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("consuming: %w", err)
		}
		var batch []featurestore.Event
		fetches.EachRecord(func(r *kgo.Record) {
			if events, err := decoder.Decode(ctx, r, batch); err == nil {
				batch = events
			}
			done++
		})
		if err := do(batch); err != nil {
			return err
		}
	}
	return nil
}

// setRows writes rows by pipelined SET.
func (s *ingestStack) setRows(ctx context.Context, row []byte, n int) error {
	const pipeline = 2000
	for n > 0 {
		part := min(n, pipeline)
		_, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for range part {
				pipe.Set(ctx, "{bench:floor@1/1}:"+strconv.Itoa(rand.IntN(25_000)), row, 0)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("writing rows: %w", err)
		}
		n -= part
	}
	return nil
}

// copyRows copies history rows to a table without indexes.
func (s *ingestStack) copyRows(ctx context.Context, events []featurestore.Event) error {
	columns := []string{"event_time", "record_time", "topic_id", "kafka_partition", "kafka_offset", "event_index", "f_user_id", "f_movie_id", "f_rating"}
	row := make([]any, len(columns))
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("copying rows: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SET synchronous_commit TO off"); err != nil { // as ours
		return fmt.Errorf("copying rows: %w", err)
	}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"bench_floor"}, columns, pgx.CopyFromSlice(len(events), func(i int) ([]any, error) {
		e := &events[i]
		row[0], row[1], row[2] = time.UnixMicro(e.Time), time.UnixMicro(e.RecordTime), [16]byte(s.topicID)
		row[3], row[4], row[5] = e.Partition, e.Offset, e.Index
		row[6], row[7], row[8] = e.Values[0].Int(), e.Values[1].Int(), e.Values[2].Float()
		return row, nil
	}))
	if err != nil {
		return fmt.Errorf("copying rows: %w", err)
	}
	return nil
}
