package history

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
)

// Table is the history of one source. It is safe for concurrent use.
type Table struct {
	pool      *pgxpool.Pool
	namespace string
	source    *featurestore.Source
	columns   []string
	copy      string // the statement that adds rows
	keys      [][]string
	made      made
	progress  progress
	// patience is how long a batch may take, idle how long Postgres waits for the next word
	// of a transaction.
	patience, idle time.Duration
}

// How long a writer waits, and is waited for. A batch takes a fraction of a second, or
// some seconds while a month gets its indexes.
const (
	writePatience = 20 * time.Second
	idlePatience  = 2 * time.Second
)

var sqlTypes = map[featurestore.Type]string{
	featurestore.Int64: "bigint", featurestore.Float64: "double precision", featurestore.String: "text",
	featurestore.Bytes: "bytea", featurestore.Bool: "boolean",
}

func sqlType(t featurestore.Type) string {
	if t.IsList() {
		return sqlTypes[t.Elem()] + "[]"
	}
	return sqlTypes[t]
}

// Open makes the table of a source, or adds the columns that it lacks. keys are the
// fields by which rows are looked up, one list for each view of the source.
func Open(ctx context.Context, pool *pgxpool.Pool, namespace string, source *featurestore.Source, keys [][]string) (*Table, error) {
	t := &Table{pool: pool, namespace: namespace, source: source, keys: keys, progress: progress{bare: true}, patience: writePatience, idle: idlePatience}
	t.columns = slices.Clone(originColumns)
	for _, f := range source.Fields {
		t.columns = append(t.columns, "f_"+f.Name)
	}
	t.copy = copyStatement(t.identifier(), t.columns)
	if err := t.create(ctx); err != nil {
		return nil, fmt.Errorf("the history of source %q: %w", source.Name, err)
	}
	return t, nil
}

func (t *Table) schema() string { return pgx.Identifier{"onehop_" + t.namespace}.Sanitize() }

func (t *Table) identifier() pgx.Identifier {
	return pgx.Identifier{"onehop_" + t.namespace, t.source.Name}
}

// name is the qualified name of the table.
func (t *Table) name() string { return t.identifier().Sanitize() }

// create makes the table or brings it up to date. Where there is nothing to do nothing is
// locked: other processes are writing.
func (t *Table) create(ctx context.Context) error {
	if ready, err := t.ready(ctx); ready || err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		// Services that start together make tables one after the other.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", "onehop history "+t.namespace); err != nil {
			return fmt.Errorf("locking: %w", err)
		}
		for _, statement := range t.statements() {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", firstLine(statement), err)
			}
		}
		return nil
	})
}

// ready says whether the table has all columns.
func (t *Table) ready(ctx context.Context) (bool, error) {
	const query = `
		SELECT count(*) FILTER (WHERE attname = ANY($2)) = cardinality($2)
		FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`
	var ready bool
	err := t.pool.QueryRow(ctx, query, t.name(), t.columns).Scan(&ready)
	return ready, err
}

// statements make the table and bring it up to date.
func (t *Table) statements() []string {
	all := []string{
		"CREATE SCHEMA IF NOT EXISTS " + t.schema(),
		"CREATE TABLE IF NOT EXISTS " + t.name() + ` (
			event_time timestamptz NOT NULL, record_time timestamptz NOT NULL,
			topic_id uuid NOT NULL, kafka_partition integer NOT NULL, kafka_offset bigint NOT NULL,
			event_index integer NOT NULL
		) PARTITION BY RANGE (event_time)`,
		// A table of before tombstones lacks it.
		"ALTER TABLE " + t.name() + " ADD COLUMN IF NOT EXISTS deleted boolean NOT NULL DEFAULT false",
	}
	for _, f := range t.source.Fields {
		all = append(all, fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s %s",
			t.name(), pgx.Identifier{"f_" + f.Name}.Sanitize(), sqlType(f.Type)))
	}
	return all
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// span is the event times of one partition, from one time to before another.
type span struct {
	suffix   string // of the partition's name
	from, to time.Time
}

// Months have partitions of their own in these years, and what is before or after shares
// one: a record whose timestamp is nonsense must not cost a table for each month that there
// is, and be kept all the same. The years never change, so that no two partitions overlap.
var (
	firstMonth = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	lastMonth  = time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC)
)

// The names of partitions end so.
const (
	beforeMonths = "_before_1990"
	afterMonths  = "_from_2060"
	monthLayout  = "_2006_01"
)

// spanOf is the partition that an event time falls into.
func spanOf(us int64) span {
	t := time.UnixMicro(us).UTC()
	switch {
	case t.Before(firstMonth):
		return span{suffix: beforeMonths, from: time.UnixMicro(math.MinInt64), to: firstMonth}
	case !t.Before(lastMonth):
		return span{suffix: afterMonths, from: lastMonth, to: time.UnixMicro(math.MaxInt64)}
	}
	m := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return span{suffix: m.Format(monthLayout), from: m, to: m.AddDate(0, 1, 0)}
}

// spans are those into which some events fall.
type spans struct {
	list     []span
	from, to int64 // of the last event
}

// add adds that of an event time.
func (s *spans) add(us int64) {
	if s.from <= us && us < s.to {
		return
	}
	of := spanOf(us)
	s.from, s.to = of.from.UnixMicro(), of.to.UnixMicro()
	if !slices.ContainsFunc(s.list, func(other span) bool { return other.suffix == of.suffix }) {
		s.list = append(s.list, of)
	}
}

func spansOf(events []featurestore.Event) []span {
	var s spans
	for i := range events {
		s.add(events[i].Time)
	}
	return s.list
}

// bounds are those of the partition in SQL.
func (s span) bounds() string {
	const layout = "'2006-01-02+00'"
	from, to := s.from.Format(layout), s.to.Format(layout)
	switch {
	case s.to.Equal(firstMonth):
		from = "MINVALUE"
	case s.from.Equal(lastMonth):
		to = "MAXVALUE"
	}
	return "FROM (" + from + ") TO (" + to + ")"
}

// makePartition makes the partition of a span when it is not there, with its indexes or, for
// history that is far behind and for files, without.
//
// A table that is made and then attached takes no lock for which anybody waits who reads or
// writes the others. CREATE TABLE … PARTITION OF would wait for all of them, and hold up all
// who come after it.
func (t *Table) makePartition(ctx context.Context, s span, indexed bool) error {
	table := t.source.Name + s.suffix
	statements := []string{
		fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL)", t.qualified(table), t.name()),
		fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s", t.name(), t.qualified(table), s.bounds()),
	}
	for _, ix := range t.indexesOf(table) {
		if indexed {
			statements = append(statements, t.makeStatement(ix, table, ""))
		}
	}
	return pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", "onehop history "+t.namespace); err != nil {
			return fmt.Errorf("locking: %w", err)
		}
		var there bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", t.qualified(table)).Scan(&there); err != nil {
			return err
		}
		if there || !indexed {
			t.setBare(true) // one that somebody else made, an import that failed perhaps, may be so too
		}
		if there {
			return nil // its indexes are there, or will be made
		}
		for _, statement := range statements {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return fmt.Errorf("making partition %s: %w", table, err)
			}
		}
		return nil
	})
}
