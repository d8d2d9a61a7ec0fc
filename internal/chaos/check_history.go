package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/featurestore"
)

func (c *Checker) table() string {
	return pgx.Identifier{"onehop_" + c.Namespace, sourceName}.Sanitize()
}

// checkHistory looks for every accepted record exactly once, at its own times, and for
// offsets at the end of the log.
func (c *Checker) checkHistory(ctx context.Context, t *truth, log *Log, report *Report) error {
	seen := make(map[partitionID][]int32, len(t.times))
	for id, times := range t.times {
		seen[id] = make([]int32, len(times))
	}
	rows, err := c.Pool.Query(ctx, "SELECT topic_id, kafka_partition, kafka_offset, event_index, record_time FROM "+c.table())
	if err != nil {
		return fmt.Errorf("reading history: %w", err)
	}
	var topic [16]byte
	var index int32
	var p place
	var recorded time.Time
	_, err = pgx.ForEachRow(rows, []any{&topic, &p.partition, &p.offset, &index, &recorded}, func() error {
		p.topic = featurestore.TopicID(topic)
		report.History++
		id := partitionID{p.topic, p.partition}
		switch times := t.times[id]; {
		case p.offset >= int64(len(times)) || times[p.offset] == 0 || index != 0:
			report.problemf(&report.Wrong, 1, "history has partition %d, offset %d, index %d, which was not accepted", p.partition, p.offset, index)
			return nil
		case recorded.UnixMicro() != times[p.offset]:
			report.problemf(&report.Wrong, 1, "history has partition %d, offset %d with another timestamp: %s", p.partition, p.offset, recorded)
		}
		seen[id][p.offset]++
		if n := seen[id][p.offset]; n > 1 {
			report.problemf(&report.Doubled, 1, "history has partition %d, offset %d %d times", p.partition, p.offset, n)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading history: %w", err)
	}
	for id, times := range t.times {
		for offset, time := range times {
			if time != 0 && seen[id][offset] == 0 {
				report.problemf(&report.Lost, 1, "history lacks partition %d, offset %d", id.partition, offset)
			}
		}
	}
	next, err := c.historyOffsets(ctx, log.ID)
	for partition, o := range log.Offsets {
		if err == nil && next[partition] != o.End {
			report.problemf(&report.Wrong, 1, "history stands at offset %d of partition %d, and the log ends at %d", next[partition], partition, o.End)
		}
	}
	return err
}

// historyOffsets are the next offsets of history, by partition.
func (c *Checker) historyOffsets(ctx context.Context, topic featurestore.TopicID) (map[int32]int64, error) {
	rows, err := c.Pool.Query(ctx, "SELECT partition, next FROM onehop.offsets WHERE namespace = $1 AND source = $2 AND topic_id = $3",
		c.Namespace, sourceName, [16]byte(topic))
	if err != nil {
		return nil, fmt.Errorf("reading the offsets of history: %w", err)
	}
	next := map[int32]int64{}
	var partition int32
	var offset int64
	if _, err := pgx.ForEachRow(rows, []any{&partition, &offset}, func() error { next[partition] = offset; return nil }); err != nil {
		return nil, fmt.Errorf("reading the offsets of history: %w", err)
	}
	return next, nil
}
