package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
)

// Snapshot is the history of a namespace at one moment, however much is added meanwhile. It
// holds a connection and a read-only transaction. It is not safe for concurrent use.
type Snapshot struct {
	conn      *pgxpool.Conn
	tx        pgx.Tx
	namespace string
	offsets   Offsets
	cut       bool                              // history holds more than the snapshot is to show
	omitted   string                            // a condition that leaves events out; see Without
	topics    map[string][]featurestore.TopicID // of each source, in the order in which they came
	columns   map[string]map[string]bool
	dropped   map[string]int64 // where the history of a source begins, see Begin
}

// Offsets say how far a history goes, or went.
type Offsets []Offset

// Offset is the first offset of a partition that is not in history.
type Offset struct {
	Source    string
	Topic     featurestore.TopicID
	Partition int32
	Next      int64
}

// OpenSnapshot opens the history of a namespace as it is now, or as it was when another
// snapshot had the offsets at. It fails with [featurestore.Unavailable] when history does not go that far
// any more, because Postgres came back from an older backup. The caller closes it.
func OpenSnapshot(ctx context.Context, pool *pgxpool.Pool, namespace string, at Offsets) (*Snapshot, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading history: %w", err)
	}
	if err := holdOff(ctx, conn, namespace); err != nil {
		giveBack(ctx, conn, namespace)
		return nil, fmt.Errorf("reading history: %w", err)
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		giveBack(ctx, conn, namespace)
		return nil, fmt.Errorf("reading history: %w", err)
	}
	s := &Snapshot{conn: conn, tx: tx, namespace: namespace, columns: map[string]map[string]bool{}, dropped: map[string]int64{}, topics: map[string][]featurestore.TopicID{}}
	if err := s.open(ctx, at); err != nil {
		s.Close(ctx)
		return nil, err
	}
	return s, nil
}

func (s *Snapshot) open(ctx context.Context, at Offsets) error {
	if err := s.readDropped(ctx); err != nil {
		return err
	}
	// Queries are many and short: compiling them would take longer than running them. A plan
	// that is made before the ranges are known looks into every month for each of them.
	if _, err := s.tx.Exec(ctx, "SELECT set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)"); err != nil {
		return fmt.Errorf("reading history: %w", err)
	}
	rows, err := s.tx.Query(ctx, `SELECT source, topic_id, partition, next FROM onehop.offsets WHERE namespace = $1
		ORDER BY source, min(seen) OVER (PARTITION BY source, topic_id), topic_id, partition`, s.namespace)
	if err != nil {
		return fmt.Errorf("asking for the offsets of history: %w", err)
	}
	var now Offsets
	var o Offset
	_, err = pgx.ForEachRow(rows, []any{&o.Source, (*[16]byte)(&o.Topic), &o.Partition, &o.Next}, func() error {
		now = append(now, o)
		if !slices.Contains(s.topics[o.Source], o.Topic) {
			s.topics[o.Source] = append(s.topics[o.Source], o.Topic)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("asking for the offsets of history: %w", err)
	}
	s.offsets = now
	if at == nil {
		return nil
	}
	s.offsets, s.cut = at, true
	return now.reach(at)
}

// reach checks that a history that goes as far as o goes as far as at.
func (o Offsets) reach(at Offsets) error {
	type partition struct {
		source    string
		topic     featurestore.TopicID
		partition int32
	}
	next := map[partition]int64{}
	for _, p := range o {
		next[partition{p.Source, p.Topic, p.Partition}] = p.Next
	}
	for _, p := range at {
		if n := next[partition{p.Source, p.Topic, p.Partition}]; n < p.Next {
			return featurestore.Errorf(featurestore.Unavailable,
				"the history of source %q, partition %d, ends at offset %d and %d is asked for: Postgres seems to have come back from an older backup; begin again",
				p.Source, p.Partition, n, p.Next)
		}
	}
	return nil
}

// Offsets say how far the snapshot goes. The caller must not change them.
func (s *Snapshot) Offsets() Offsets { return s.offsets }

// Topics are the topics that a source has had, in the order by which events count them. The
// caller must not change them.
func (s *Snapshot) Topics(source string) []featurestore.TopicID { return s.topics[source] }

// Close ends the transaction and gives the connection back, even when ctx is over. A second
// call does nothing.
func (s *Snapshot) Close(ctx context.Context) {
	if s.conn == nil { // it is closed
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	// There is nothing to commit, and Release closes a connection that is broken.
	_ = s.tx.Rollback(ctx)
	letGo(ctx, s.conn, s.namespace)
	s.conn = nil
}

// giveBack gives back a connection with which nothing was begun, even when ctx is over.
func giveBack(ctx context.Context, conn *pgxpool.Conn, namespace string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	letGo(ctx, conn, namespace)
}

// table are the columns of a source's table; none when it was never made.
func (s *Snapshot) table(ctx context.Context, source string) (map[string]bool, error) {
	if columns, ok := s.columns[source]; ok {
		return columns, nil
	}
	rows, err := s.tx.Query(ctx, `SELECT attname::text FROM pg_attribute
		WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, s.name(source))
	if err != nil {
		return nil, fmt.Errorf("looking for the history of source %q: %w", source, err)
	}
	columns := map[string]bool{}
	var column string
	_, err = pgx.ForEachRow(rows, []any{&column}, func() error {
		columns[column] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the history of source %q: %w", source, err)
	}
	s.columns[source] = columns
	return columns, nil
}

func (s *Snapshot) name(source string) string {
	return pgx.Identifier{"onehop_" + s.namespace, source}.Sanitize()
}

// order is the number of an event's topic among those of its source.
func (s *Snapshot) order(source string) string {
	topics := s.topics[source]
	if len(topics) < 2 {
		return "0"
	}
	var b strings.Builder
	b.WriteString("CASE topic_id")
	for i, topic := range topics {
		fmt.Fprintf(&b, " WHEN '%s' THEN %d", topic, i)
	}
	return b.String() + " ELSE 0 END"
}

// within is the condition that an event of the source is in the snapshot; empty for none.
func (s *Snapshot) within(source string) string {
	if !s.cut {
		return s.omitted
	}
	return " AND kafka_offset < " + s.offsets.next(source) + s.omitted
}

// next is the first offset of an event's partition that is not meant, in SQL; 0 for
// partitions that are not named.
func (o Offsets) next(source string) string {
	var b strings.Builder
	b.WriteString("CASE")
	for _, p := range o {
		if p.Source == source {
			fmt.Fprintf(&b, " WHEN topic_id = '%s' AND kafka_partition = %d THEN %d", p.Topic, p.Partition, p.Next)
		}
	}
	b.WriteString(" WHEN false THEN 0 ELSE 0 END")
	return b.String()
}

var errOrder = errors.New("events came in another order than asked for")
