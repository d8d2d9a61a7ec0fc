package materialize

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/featurestore/training/query"
)

// readSQL reads rows of Postgres.
func readSQL(ctx context.Context, pool *pgxpool.Pool, e *encoder, span Span, give func(stream.Row) error) error {
	sql, name := statement(e)
	schema, err := query.Describe(ctx, pool, sql)
	if err == nil {
		err = e.bind(schema)
	}
	if err == nil {
		err = checkTimes(ctx, pool, e, sql)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t := pgx.Identifier{e.source.TimeField}.Sanitize()
	where := fmt.Sprintf("%s > %s AND %s <= %s ORDER BY %s", t, timestamp(span.After), t, timestamp(span.Until), t)
	if err := each(ctx, pool, e, selecting(e, sql, where), give); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// statement is the query of all rows, and what errors call it.
func statement(e *encoder) (sql, name string) {
	batch := e.source.Batch
	if batch.Table == "" {
		return strings.TrimRight(batch.Query, "; \t\r\n"), "the query"
	}
	return "SELECT * FROM " + pgx.Identifier(strings.Split(batch.Table, ".")).Sanitize(), "table " + batch.Table
}

// selecting is the query of some rows, of the columns that are read.
func selecting(e *encoder, sql, where string) string {
	columns := []string{pgx.Identifier{e.source.TimeField}.Sanitize()}
	for i := range e.source.Fields {
		if e.columns[i] >= 0 {
			columns = append(columns, pgx.Identifier{e.source.Fields[i].Name}.Sanitize())
		}
	}
	// A comment at the query's end ends before the parenthesis. Postgres plans what is named once
	// together with the rest, so that an index of the event time is used.
	return "WITH batch AS (\n" + sql + "\n) SELECT " + strings.Join(columns, ", ") + " FROM batch WHERE " + where
}

// checkTimes refuses rows whose event time no span has: they would be left out and nobody told. They
// are looked for apart, as an index finds both these and the span.
func checkTimes(ctx context.Context, pool *pgxpool.Pool, e *encoder, sql string) error {
	t := pgx.Identifier{e.source.TimeField}.Sanitize()
	where := fmt.Sprintf("%s IS NULL OR %s <= %s OR %s >= %s LIMIT 1", t, t, timestamp(0), t, timestamp(maxTime))
	return each(ctx, pool, e, selecting(e, sql, where), func(stream.Row) error { return nil })
}

// each gives the rows of a query.
func each(ctx context.Context, pool *pgxpool.Pool, e *encoder, sql string, give func(stream.Row) error) error {
	rows, err := query.Open(ctx, pool, sql)
	if err != nil {
		return err
	}
	defer rows.Close(ctx)
	if err := e.bind(rows.Schema()); err != nil {
		return err
	}
	for rows.Next() {
		batch := rows.RecordBatch()
		if err := e.open(rows.Schema(), batch); err != nil {
			return err
		}
		for i := range int(batch.NumRows()) {
			row, err := e.row(i)
			if err != nil {
				return fmt.Errorf("%s: %w", e.name(i), err)
			}
			if err := give(row); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}

// timestamp is a moment in SQL.
func timestamp(us int64) string {
	return "'" + time.UnixMicro(us).UTC().Format("2006-01-02 15:04:05.999999+00") + "'::timestamptz"
}
