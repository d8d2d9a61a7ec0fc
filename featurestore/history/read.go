package history

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// Estimate implements [training.History] by the statistics of Postgres.
func (s *Snapshot) Estimate(ctx context.Context, q *training.Query) (events, entities float64, err error) {
	var columns []string
	for _, f := range q.KeyFields {
		columns = append(columns, "f_"+q.Source.Fields[f].Name)
	}
	if events, entities, err = s.estimate(ctx, q.Source.Name, columns); entities == 0 { // not known
		entities = events / 50
	}
	return events, entities, err
}

// estimate is about how many events a source has, and how many different values are in the one
// of some columns that has most; 0 where Postgres does not know.
func (s *Snapshot) estimate(ctx context.Context, source string, columns []string) (events, distinct float64, err error) {
	// A month that was never analyzed is counted by its size; n_distinct below 0 is a
	// share of the rows.
	const query = `
		SELECT coalesce(sum(rows), 0), coalesce(max(CASE WHEN n_distinct < 0 THEN -n_distinct * rows ELSE n_distinct END), 0)
		FROM (
			SELECT n.nspname, c.relname, CASE WHEN c.reltuples < 0 THEN pg_relation_size(c.oid) / 100.0 ELSE c.reltuples END AS rows
			FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE i.inhparent = to_regclass($1)
		) AS month LEFT JOIN LATERAL (
			SELECT max(n_distinct) AS n_distinct FROM pg_stats
			WHERE schemaname = nspname AND tablename = relname AND attname = ANY($2)
		) AS stats ON true`
	if err := s.tx.QueryRow(ctx, query, s.name(source), columns).Scan(&events, &distinct); err != nil {
		return 0, 0, fmt.Errorf("counting the events of source %q: %w", source, err)
	}
	return events, distinct, nil
}

// Walk implements [training.History].
func (s *Snapshot) Walk(ctx context.Context, q *training.Query, yield func(r int, e *featurestore.Event) error) error {
	order := "event_time"
	if q.Available {
		order = "greatest(event_time + interval '1 microsecond', record_time)"
	}
	return s.events(ctx, q, "ORDER BY "+order, yield)
}

// Newest implements [training.History].
func (s *Snapshot) Newest(ctx context.Context, q *training.Query, yield func(r int, e *featurestore.Event) error) error {
	rest := "ORDER BY event_time DESC, kafka_partition DESC, kafka_offset DESC, event_index DESC LIMIT 1"
	if q.Available {
		rest = "AND record_time <= k.until " + rest
	}
	return s.events(ctx, q, rest, yield)
}

// events asks for the events of all ranges at once: for each a subquery that walks along
// the index of the key. rest ends the subquery.
func (s *Snapshot) events(ctx context.Context, q *training.Query, rest string, yield func(r int, e *featurestore.Event) error) error {
	for _, r := range q.Ranges {
		if err := s.whole(q.Source.Name, r.From); err != nil {
			return err
		}
	}
	columns, err := s.table(ctx, q.Source.Name)
	if err != nil || len(columns) == 0 {
		return err
	}
	statement := s.statement(q, columns, rest)
	rows, err := s.tx.Query(ctx, statement, arguments(q)...)
	if err != nil {
		return fmt.Errorf("reading the history of source %q: %w", q.Source.Name, err)
	}
	defer rows.Close()
	d := newRowDecoder(q)
	last := 0
	for rows.Next() {
		r, e, err := d.decode(rows.RawValues())
		switch {
		case err != nil:
			return fmt.Errorf("reading the history of source %q: %w", q.Source.Name, err)
		case r < last:
			return fmt.Errorf("reading the history of source %q: %w", q.Source.Name, errOrder)
		}
		last = r
		if err := yield(r, e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the history of source %q: %w", q.Source.Name, err)
	}
	return nil
}

// statement is the query; its parameters are the ends of the ranges and the parts of the
// keys. That a plan goes through the ranges in order follows from ORDER BY; that each range
// is in its order, from nothing but the subquery's: no join changes it.
func (s *Snapshot) statement(q *training.Query, columns map[string]bool, rest string) string {
	var from, names, where strings.Builder
	for i, f := range q.KeyFields {
		field := &q.Source.Fields[f]
		fmt.Fprintf(&from, ", $%d::%s[]", i+3, sqlType(field.Type))
		fmt.Fprintf(&names, ", k%d", i)
		fmt.Fprintf(&where, "%s = k.k%d AND ", pgx.Identifier{"f_" + field.Name}.Sanitize(), i)
	}
	selected := []string{"event_time", "record_time", "kafka_partition", "kafka_offset", "event_index", "deleted", s.order(q.Source.Name) + " AS topic"}
	for _, f := range q.Fields {
		field := &q.Source.Fields[f]
		column := pgx.Identifier{"f_" + field.Name}.Sanitize()
		if !columns["f_"+field.Name] { // a new field, of which ingest has seen nothing yet
			column = "NULL::" + sqlType(field.Type)
		}
		selected = append(selected, fmt.Sprintf("%s AS v%d", column, f))
	}
	const moment = "timestamptz 'epoch' + %s * interval '1 microsecond' AS %s"
	return fmt.Sprintf(`SELECT k.n, e.* FROM (
		SELECT n, %s, %s%s FROM unnest($1::bigint[], $2::bigint[]%s) WITH ORDINALITY AS u(since, until%s, n)
	) AS k CROSS JOIN LATERAL (
		SELECT %s FROM %s WHERE %sevent_time >= k.since AND event_time < k.until%s %s
	) AS e ORDER BY k.n`,
		fmt.Sprintf(moment, "since", "since"), fmt.Sprintf(moment, "until", "until"), names.String(), from.String(), names.String(),
		strings.Join(selected, ", "), s.name(q.Source.Name), where.String(), s.within(q.Source.Name), rest)
}

// arguments are the parameters of the statement.
func arguments(q *training.Query) []any {
	since, until := make([]int64, len(q.Ranges)), make([]int64, len(q.Ranges))
	for i, r := range q.Ranges {
		since[i], until[i] = r.From, r.To
	}
	args := []any{since, until}
	for i := range q.Keys.Parts {
		args = append(args, gather(&q.Keys.Parts[i], q.Ranges))
	}
	return args
}

// gather is the part of the key of each range.
func gather(c *plan.KeyColumn, ranges []training.Range) any {
	switch {
	case c.Ints != nil:
		return pick(c.Ints, ranges)
	case c.Strings != nil:
		return pick(c.Strings, ranges)
	default:
		return pick(c.Bytes, ranges)
	}
}

func pick[T any](values []T, ranges []training.Range) []T {
	picked := make([]T, len(ranges))
	for i, r := range ranges {
		picked[i] = values[r.Row]
	}
	return picked
}
