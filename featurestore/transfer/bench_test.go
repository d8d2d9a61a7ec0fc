package transfer_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/featurestore/transfer"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
)

// benchRows is how many events are imported: of a year, of 50,000 users.
const benchRows = 1_000_000

func ratings() *featurestore.Source {
	return &featurestore.Source{Name: "ratings", MaxAge: time.Hour, MaxSkew: time.Minute, Fields: []featurestore.Field{
		{Name: "user_id", Type: featurestore.Int64, Required: true},
		{Name: "movie_id", Type: featurestore.Int64, Required: true},
		{Name: "rating", Type: featurestore.Float64, Required: true},
		{Name: "device", Type: featurestore.String},
	}}
}

// BenchmarkImport imports a million events from CSV and from Parquet, and does beside it, in
// turns, what an import cannot do without: a COPY of the same rows, packed beforehand, in one
// statement into a table with the same partitions; and the indexes that history has, made on
// it after.
// The ratios are rates of the import by that of the floor, without indexes and with them.
func BenchmarkImport(b *testing.B) {
	pool, err := pgxpool.New(b.Context(), testenv.Postgres(b))
	must(b, err)
	defer pool.Close()
	_, err = migrations.Up(b.Context(), pool)
	must(b, err)
	csv, parquet := benchFiles(b)
	packed := filepath.Join(b.TempDir(), "rows.copy")
	took := map[string]time.Duration{}
	timed := func(what string, work func()) {
		began := time.Now()
		work()
		took[what] += time.Since(began)
	}
	b.ResetTimer()
	for b.Loop() {
		for what, name := range map[string]string{"csv": csv, "parquet": parquet} {
			namespace := testenv.Namespace(b)
			table, err := history.Open(b.Context(), pool, namespace, ratings(), [][]string{{"user_id"}})
			must(b, err)
			must(b, checkpoint(b, pool))
			var f *transfer.File
			timed(what+" check", func() {
				f, err = transfer.Open(ratings(), name, nil)
				must(b, err)
				_, err = f.Check(b.Context(), nil)
			})
			must(b, err)
			timed(what, func() {
				f, err = transfer.Open(ratings(), name, nil)
				must(b, err)
				_, err = transfer.Import(b.Context(), namespace, table, []*transfer.File{f}, nil)
			})
			must(b, err)
			timed(what+" index", func() { err = table.IndexAll(b.Context()) })
			must(b, err)
			from := "onehop_" + namespace + ".ratings"
			floor(b, pool, from, packed, timed)
			_, err = pool.Exec(b.Context(), "DROP TABLE "+from+", bench_floor")
			must(b, err)
		}
	}
	b.ReportMetric(0, "ns/op")
	rate := func(what ...string) float64 {
		var sum time.Duration
		for _, w := range what {
			sum += took[w]
		}
		return benchRows * float64(b.N) / sum.Seconds()
	}
	copied, indexed := rate("floor copy")*2, rate("floor copy", "floor index")*2 // it ran twice
	b.ReportMetric(copied, "floor-rows/s")
	b.ReportMetric(indexed, "floor-indexed-rows/s")
	for _, what := range []string{"csv", "parquet"} {
		b.ReportMetric(rate(what+" check"), what+"-check-rows/s")
		b.ReportMetric(rate(what), what+"-rows/s")
		b.ReportMetric(rate(what)/copied, what+"/floor")
		b.ReportMetric(rate(what, what+" index")/indexed, what+"-indexed/floor-indexed")
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func checkpoint(b *testing.B, pool *pgxpool.Pool) error {
	_, err := pool.Exec(b.Context(), "CHECKPOINT")
	return err
}

// floor copies the rows of a table to one of the same partitions.
func floor(b *testing.B, pool *pgxpool.Pool, from, packed string, timed func(string, func())) {
	b.Helper()
	conn, err := pool.Acquire(b.Context())
	must(b, err)
	defer conn.Release()
	out, err := os.Create(packed) //nolint:gosec // a temporary file of the test
	must(b, err)
	_, err = conn.Conn().PgConn().CopyTo(b.Context(), out, "COPY (SELECT * FROM "+from+" ORDER BY kafka_offset) TO STDOUT BINARY")
	must(b, err)
	must(b, out.Close())
	statements := []string{"DROP TABLE IF EXISTS bench_floor", "CREATE TABLE bench_floor (LIKE " + from + ") PARTITION BY RANGE (event_time)"}
	for month := range 12 {
		first := time.Date(2025, time.Month(1+month), 1, 0, 0, 0, 0, time.UTC)
		statements = append(statements, fmt.Sprintf("CREATE TABLE bench_floor_%d PARTITION OF bench_floor FOR VALUES FROM ('%s') TO ('%s')", month,
			first.Format(time.RFC3339), first.AddDate(0, 1, 0).Format(time.RFC3339)))
	}
	for _, statement := range append(statements, "CHECKPOINT") {
		_, err = conn.Exec(b.Context(), statement)
		must(b, err)
	}
	in, err := os.Open(packed) //nolint:gosec // a temporary file of the test
	must(b, err)
	defer func() { must(b, in.Close()) }()
	timed("floor copy", func() {
		_, err = conn.Conn().PgConn().CopyFrom(b.Context(), io.Reader(in), "COPY bench_floor FROM STDIN BINARY")
	})
	must(b, err)
	timed("floor index", func() {
		_, err = conn.Exec(b.Context(), "CREATE INDEX ON bench_floor (f_user_id, event_time DESC); CREATE INDEX ON bench_floor USING brin (event_time)")
	})
	must(b, err)
}

// benchFiles makes the events as CSV and Parquet.
func benchFiles(b *testing.B) (csv, parquet string) {
	b.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "event_time", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
		{Name: "user_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "movie_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "rating", Type: arrow.PrimitiveTypes.Float64},
		{Name: "device", Type: arrow.BinaryTypes.String},
	}, nil)
	dir := b.TempDir()
	csv, parquet = filepath.Join(dir, "past.csv"), filepath.Join(dir, "past.parquet")
	var writers []*files.Writer
	for _, name := range []string{csv, parquet} {
		w, err := files.Create(name, nil, schema)
		must(b, err)
		writers = append(writers, w)
	}
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	first := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	for i := range benchRows {
		builder.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(first + int64(i)*31_000_000)) //nolint:forcetypeassert // made so above
		builder.Field(1).(*array.Int64Builder).Append(int64(i) * 7919 % 50_000)                         //nolint:forcetypeassert // made so above
		builder.Field(2).(*array.Int64Builder).Append(int64(i) * 31 % 9_000)                            //nolint:forcetypeassert // made so above
		builder.Field(3).(*array.Float64Builder).Append(float64(i%10) / 2)                              //nolint:forcetypeassert // made so above
		builder.Field(4).(*array.StringBuilder).Append(fmt.Sprintf("device-%d", i%40))                  //nolint:forcetypeassert // made so above
		if (i+1)%8192 == 0 || i+1 == benchRows {
			batch := builder.NewRecordBatch()
			for _, w := range writers {
				must(b, w.Write(batch))
			}
			batch.Release()
		}
	}
	for _, w := range writers {
		must(b, w.Commit())
	}
	return csv, parquet
}
