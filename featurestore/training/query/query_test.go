package query_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore/training/query"
	"github.com/onehop/onehop/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1 // the one that is to come back
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// TestBatches: every row once, in batches, and the connection comes back.
func TestBatches(t *testing.T) {
	pool := open(t)
	for _, n := range []int64{0, 1, 8192, 20_000} {
		rows, err := query.Open(t.Context(), pool, fmt.Sprintf("SELECT i FROM generate_series(1::bigint, %d) AS i", n))
		if err != nil {
			t.Fatal(err)
		}
		next := int64(1)
		for rows.Next() {
			for _, i := range rows.RecordBatch().Column(0).(*array.Int64).Int64Values() {
				if i != next {
					t.Fatalf("%d where %d was to come", i, next)
				}
				next++
			}
		}
		if rows.Err() != nil || next != n+1 {
			t.Errorf("%d rows of %d, %v", next-1, n, rows.Err())
		}
		rows.Close(t.Context())
	}
}

// TestCloseDoesNotWait: neither for rows that nobody reads, nor does the query go on.
func TestCloseDoesNotWait(t *testing.T) {
	pool := open(t)
	rows, err := query.Open(t.Context(), pool, "SELECT i, md5(i::text) FROM (SELECT generate_series(1, 2000000000) AS i) AS endless")
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() || rows.RecordBatch().NumRows() != 8192 {
		t.Fatal(rows.Err())
	}
	began := time.Now()
	rows.Close(t.Context())
	var one int
	if err := pool.QueryRow(t.Context(), "SELECT 1").Scan(&one); err != nil || time.Since(began) > 4*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
