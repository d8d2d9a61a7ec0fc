package query

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// batchRows is how many rows a batch has.
const batchRows = 8192

// Rows are the rows of a query, an [array.RecordReader]. They hold a connection until Close.
type Rows struct {
	array.RecordReader
	conn  *pgxpool.Conn
	tx    pgx.Tx
	rows  pgx.Rows
	ended bool // there are no more rows
}

// Open begins a query: one statement that returns rows and writes nothing. Columns are
// int64 (of int2, int4, int8), float64 (of float4, float8, numeric), utf8, bool, binary,
// timestamp[us, UTC] (of timestamptz), timestamp[us] (of timestamp); others are utf8, as
// Postgres writes them. When ctx ends the query does. The caller closes the rows.
func Open(ctx context.Context, pool *pgxpool.Pool, sql string) (*Rows, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		conn.Release()
		return nil, err
	}
	r := &Rows{conn: conn, tx: tx}
	if err := r.open(ctx, sql); err != nil {
		r.Close(ctx)
		return nil, err
	}
	return r, nil
}

// Describe says which columns a query has, as [Open] reads them, without running it.
func Describe(ctx context.Context, pool *pgxpool.Pool, sql string) (*arrow.Schema, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	described, err := describe(ctx, conn.Conn(), sql)
	if err != nil {
		return nil, err
	}
	return schemaOf(described), nil
}

// describe has Postgres parse a query.
func describe(ctx context.Context, conn *pgx.Conn, sql string) (*pgconn.StatementDescription, error) {
	described, err := conn.Prepare(ctx, "", sql)
	switch {
	case err != nil:
		return nil, explain(err)
	case len(described.ParamOIDs) > 0:
		return nil, errors.New("the query has parameters such as $1: write the values there")
	case len(described.Fields) == 0:
		return nil, errors.New("the query returns no rows: it must be one SELECT")
	}
	return described, nil
}

func schemaOf(described *pgconn.StatementDescription) *arrow.Schema {
	var fields []arrow.Field
	for _, f := range described.Fields {
		fields = append(fields, arrow.Field{Name: f.Name, Type: columnOf(f.DataTypeOID).arrow, Nullable: true})
	}
	return arrow.NewSchema(fields, nil)
}

func (r *Rows) open(ctx context.Context, sql string) error {
	described, err := describe(ctx, r.tx.Conn(), sql)
	if err != nil {
		return err
	}
	schema := schemaOf(described)
	if r.rows, err = r.tx.Query(ctx, sql, pgx.QueryExecModeDescribeExec, formats); err != nil {
		return explain(err)
	}
	r.RecordReader = array.ReaderFromIter(schema, r.batches(schema, described.Fields))
	return nil
}

// batches reads the rows.
func (r *Rows) batches(schema *arrow.Schema, fields []pgconn.FieldDescription) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		defer b.Release()
		columns := make([]column, len(fields))
		for i := range columns {
			columns[i] = columnOf(fields[i].DataTypeOID)
		}
		rows := int64(0)
		for r.rows.Next() {
			rows++
			for i, raw := range r.rows.RawValues() {
				if raw == nil {
					b.Field(i).AppendNull()
				} else if err := columns[i].add(b.Field(i), raw); err != nil {
					yield(nil, fmt.Errorf("row %d, column %q: %w", rows, fields[i].Name, err))
					return
				}
			}
			if rows%batchRows == 0 && !yield(b.NewRecordBatch(), nil) {
				return
			}
		}
		r.ended = true
		if err := r.rows.Err(); err != nil {
			yield(nil, explain(err))
			return
		}
		if rows%batchRows > 0 {
			yield(b.NewRecordBatch(), nil)
		}
	}
}

// Close ends the query and gives the connection back, even when ctx is over.
func (r *Rows) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if r.RecordReader != nil {
		r.Release()
	}
	if r.rows != nil {
		if !r.ended { // rows that nobody will read are not waited for
			_ = r.conn.Conn().PgConn().CancelRequest(ctx)
		}
		r.rows.Close()
	}
	// There is nothing to commit, and Release closes a connection that is broken.
	_ = r.tx.Rollback(ctx)
	r.conn.Release()
}

// The states of Postgres that a query is refused with, with advice of their own.
const (
	readOnly          = "25006"
	severalStatements = "42601"
)

// explain says what to do about an error, where Postgres does not.
func explain(err error) error {
	var refused *pgconn.PgError
	switch {
	case !errors.As(err, &refused):
		return err
	case refused.Code == readOnly:
		return fmt.Errorf("the query writes, and may only read: %w", err)
	case refused.Code == severalStatements && refused.Position == 0:
		return fmt.Errorf("give one statement, without others before or after it: %w", err)
	case refused.Position > 0:
		return fmt.Errorf("at character %d: %w", refused.Position, err)
	default:
		return err
	}
}
