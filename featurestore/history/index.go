package history

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// The indexes by which rows are looked up cost more than the rows: kept row by row, each
// takes Postgres about 2 µs a row; made over many rows at once, a third of that. So a month
// that is filled while history is far behind Kafka gets them when history has caught up;
// until then nobody can ask it for the present anyway. Other months have them from the
// start.

// farBehind is how many records of a partition make history far behind.
const farBehind = 100_000

// progress is how far behind the partitions of a table are that this process follows.
type progress struct {
	mu     sync.Mutex
	behind map[int32]standing
	bare   bool // a month may lack indexes
}

type standing struct {
	records int64
	at      time.Time
}

// forgotten is after what time without a word a partition is somebody else's.
const forgotten = time.Minute

// stand notes how far behind a partition is.
func (p *progress) stand(partition int32, records int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behind == nil {
		p.behind = map[int32]standing{}
	}
	p.behind[partition] = standing{records: records, at: time.Now()}
}

// Unindexed says whether months may lack indexes while history has caught up: it is time
// for [Table.Index].
func (t *Table) Unindexed() bool {
	t.progress.mu.Lock()
	defer t.progress.mu.Unlock()
	if !t.progress.bare || len(t.progress.behind) == 0 {
		return false
	}
	for _, s := range t.progress.behind {
		if s.records > farBehind && time.Since(s.at) < forgotten {
			return false
		}
	}
	return true
}

func (t *Table) setBare(bare bool) {
	t.progress.mu.Lock()
	defer t.progress.mu.Unlock()
	t.progress.bare = bare
}

// index is an index that a month needs.
type index struct{ name, how string }

// indexesOf lists the indexes of the month's table.
func (t *Table) indexesOf(table string) []index {
	list := []index{{name: indexName(table, []string{"time"}), how: "USING brin (event_time)"}}
	for _, key := range t.keys {
		var columns []string
		for _, field := range key {
			columns = append(columns, pgx.Identifier{"f_" + field}.Sanitize())
		}
		list = append(list, index{name: indexName(table, append([]string{"key"}, key...)), how: "(" + strings.Join(columns, ", ") + ", event_time DESC)"})
	}
	return list
}

func indexName(table string, key []string) string {
	name := table + "_by_" + strings.Join(key, "_")
	if len(name) <= 63 {
		return name
	}
	h := fnv.New64a() // Postgres would cut it, and two might become one
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("%s_by_%x", table[:min(len(table), 43)], h.Sum64())
}

func (t *Table) makeStatement(ix index, table, how string) string {
	return fmt.Sprintf("CREATE INDEX %s IF NOT EXISTS %s ON %s %s", how, pgx.Identifier{ix.name}.Sanitize(),
		t.qualified(table), ix.how)
}

// Index makes the indexes that months lack. One process does it at a time; another one's
// call returns at once.
func (t *Table) Index(ctx context.Context) error {
	_, err := Alone(ctx, t.pool, "onehop index "+t.namespace+"."+t.source.Name, func(conn *pgxpool.Conn) error {
		t.setBare(false) // a month made from now on counts
		err := t.index(ctx, conn)
		if err != nil {
			t.setBare(true)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("indexing the history of source %q: %w", t.source.Name, err)
	}
	return nil
}

// IndexAll makes the indexes that months lack, or waits for another process that does.
func (t *Table) IndexAll(ctx context.Context) error {
	for {
		if err := t.Index(ctx); err != nil {
			return err
		}
		if done, err := t.Indexed(ctx); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

// smallMonth is the size in bytes up to which a month's indexes are made the fast way, side
// by side, which holds up those who write to it for some seconds. Larger ones are made
// without.
const smallMonth = 512 << 20

func (t *Table) index(ctx context.Context, conn *pgxpool.Conn) error {
	months, err := t.leaves(ctx, conn)
	if err != nil {
		return err
	}
	for table, valid := range months {
		size, missing := int64(0), []index{}
		for _, ix := range t.indexesOf(table) {
			if !valid[ix.name] {
				missing = append(missing, ix)
			}
		}
		if err := conn.QueryRow(ctx, "SELECT pg_relation_size($1::regclass)", t.qualified(table)).Scan(&size); err != nil {
			return fmt.Errorf("the size of %s: %w", table, err)
		}
		how := fast
		if size > smallMonth {
			how = slow
		}
		err := t.makeIndexes(ctx, missing, table, how)
		if how == fast && lockNotAvailable(err) { // an import holds the month for as long as it takes
			err = t.makeIndexes(ctx, missing, table, slow)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// How indexes are made: fast, side by side, or slowly, one at a time, while others write.
const (
	fast = ""
	slow = "CONCURRENTLY"
)

func (t *Table) makeIndexes(ctx context.Context, list []index, table, how string) error {
	group := errgroup.Group{}
	if how == slow {
		group.SetLimit(1)
	}
	for _, ix := range list {
		group.Go(func() error { return t.makeIndex(ctx, ix, table, how) })
	}
	return group.Wait()
}

// makeIndex makes an index, anew where somebody was stopped while making it. The fast way
// waits for writers for a moment only, because all other writers wait behind it.
func (t *Table) makeIndex(ctx context.Context, ix index, table, how string) error {
	statements := []string{fmt.Sprintf("DROP INDEX %s IF EXISTS %s", how, t.qualified(ix.name)), t.makeStatement(ix, table, how)}
	if how == fast {
		statements = append([]string{"SET LOCAL lock_timeout = '1s'"}, statements...)
	}
	all := func(execute func(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)) error {
		for _, statement := range statements {
			if _, err := execute(ctx, statement); err != nil {
				return fmt.Errorf("making index %s: %w", ix.name, err)
			}
		}
		return nil
	}
	if how == slow { // which no transaction may do
		return all(t.pool.Exec)
	}
	return pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error { return all(tx.Exec) })
}

// qualified is a name in the schema of the namespace.
func (t *Table) qualified(name string) string {
	return pgx.Identifier{"onehop_" + t.namespace, name}.Sanitize()
}

// Indexed says whether every month has its indexes.
func (t *Table) Indexed(ctx context.Context) (bool, error) {
	conn, err := t.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	months, err := t.leaves(ctx, conn)
	for table, valid := range months {
		if slices.ContainsFunc(t.indexesOf(table), func(ix index) bool { return !valid[ix.name] }) {
			return false, nil
		}
	}
	return err == nil, err
}

// leaves lists the tables of the months and, by name, whether their indexes are usable.
func (t *Table) leaves(ctx context.Context, conn *pgxpool.Conn) (map[string]map[string]bool, error) {
	const query = `
		SELECT month.relname, coalesce(ix.relname, ''), coalesce(x.indisvalid, false)
		FROM pg_inherits i JOIN pg_class month ON month.oid = i.inhrelid
		LEFT JOIN pg_index x ON x.indrelid = month.oid LEFT JOIN pg_class ix ON ix.oid = x.indexrelid
		WHERE i.inhparent = $1::regclass`
	rows, err := conn.Query(ctx, query, t.name())
	if err != nil {
		return nil, err
	}
	months := map[string]map[string]bool{}
	var month, name string
	var valid bool
	_, err = pgx.ForEachRow(rows, []any{&month, &name, &valid}, func() error {
		if months[month] == nil {
			months[month] = map[string]bool{}
		}
		months[month][name] = valid
		return nil
	})
	return months, err
}
