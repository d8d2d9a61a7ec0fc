package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/internal/cli"
	"github.com/onehop/onehop/internal/testenv"
)

// apply applies the definitions, without anybody who reads the topics.
func (w *warehouse) apply(t *testing.T) {
	t.Helper()
	w.write(t, "definitions.yaml", w.sql(batchDefinitions))
	mustRun(t, append([]string{"apply", filepath.Join(w.dir, "definitions.yaml")}, w.flags...)...)
}

// topic counts the committed records of a source's topic by their values.
func (w *warehouse) topic(t *testing.T, source string) map[string]int {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(testenv.Kafka(t)...), kgo.ConsumeTopics(w.flags[1]+"."+source),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	counts := map[string]int{}
	for quiet := 0; quiet < 4; {
		within, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		records := client.PollFetches(within).Records()
		cancel()
		if quiet++; len(records) > 0 {
			quiet = 0
		}
		for _, r := range records {
			counts[string(r.Value)]++
		}
	}
	return counts
}

// TestMaterializeOutlivesPostgres: it goes on after what was committed, so that every row is there
// once, though it was told to read again.
func TestMaterializeOutlivesPostgres(t *testing.T) {
	const rows = 300_000
	w := newWarehouse(t)
	w.apply(t)
	w.exec(t, "INSERT INTO WAREHOUSE.profiles SELECT i, 's' || i, now() - interval '1 day' + i * interval '1 ms' FROM generate_series(1, $1::int) i", rows)
	complaints, done := &buffer{}, make(chan int, 1)
	go func() {
		done <- cli.Run(t.Context(), w.args(t, "profiles", "--since", "48h"), cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: complaints})
	}()
	kills := 0
	for code := -1; code < 0; {
		select {
		case code = <-done:
			if code != 0 || kills == 0 || !strings.Contains(complaints.String(), "Postgres is back; going on") {
				t.Errorf("exit status %d after %d kills: %s", code, kills, complaints)
			}
		case <-time.After(5 * time.Millisecond):
		}
		if kills > 0 || w.committed(t, "profiles") == 0 {
			continue
		}
		err := w.pool.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE query LIKE '%' || $1 || '%FROM batch WHERE%ORDER BY%' AND state = 'active' AND pid <> pg_backend_pid()`, w.schema).Scan(&kills)
		if err != nil {
			t.Fatal(err)
		}
	}
	once := w.topic(t, "profiles")
	for value, n := range once {
		if n != 1 {
			t.Fatalf("%s is there %d times", value, n)
		}
	}
	if len(once) != rows {
		t.Errorf("%d rows, not %d", len(once), rows)
	}
}

// committed is where the committed records of a source's topic end.
func (w *warehouse) committed(t *testing.T, source string) (sum int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(testenv.Kafka(t)...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(t.Context(), w.flags[1]+"."+source)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { sum += max(0, o.Offset) })
	return sum
}

// TestMaterializeThatIsInterrupted stops runs at random moments, and lets others begin meanwhile:
// in the end every row is there once.
func TestMaterializeThatIsInterrupted(t *testing.T) {
	const rows = 90_000
	w := newWarehouse(t)
	w.apply(t)
	w.exec(t, "INSERT INTO WAREHOUSE.profiles SELECT i, md5(i::text), timestamptz '2026-01-01' + (i / 7) * interval '1 second' FROM generate_series(1, $1) AS i", rows)
	args := w.args(t, "profiles", "--until", "2026-09-01T00:00:00Z")
	one := func(ctx context.Context) int {
		var out, complaints buffer
		code := cli.Run(ctx, args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &complaints})
		if text := complaints.String(); code != 0 && ctx.Err() == nil && !strings.Contains(text, "another run for the same source has taken over") {
			t.Error(text)
		}
		return code
	}
	w.rows(t, rows, "profiles", "--dry-run") // when it is done the definitions are in force
	var stopped atomic.Int64
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test that can be repeated
		var runs sync.WaitGroup
		for range 1 + seed%2 {
			ctx, stop := context.WithTimeout(t.Context(), time.Duration(50+random.IntN(250))*time.Millisecond)
			runs.Go(func() {
				defer stop()
				if one(ctx) != 0 && ctx.Err() != nil {
					stopped.Add(1)
				}
			})
		}
		runs.Wait()
	}
	if stopped.Load() == 0 {
		t.Error("no run was stopped: the test tries nothing")
	}
	if one(t.Context()) != 0 {
		t.Fatal("the last run did not end well")
	}
	counts := w.topic(t, "profiles")
	for value, n := range counts {
		if n != 1 {
			t.Fatalf("%s is there %d times", value, n)
		}
	}
	if len(counts) != rows {
		t.Errorf("%d rows, not %d", len(counts), rows)
	}
}

// unanswered is an address where connections neither succeed nor are refused: nobody accepts, and
// as many wait as the system lets.
func unanswered(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := errors.Join(syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(socket, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for {
		waiting, err := (&net.Dialer{Timeout: 100 * time.Millisecond}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = waiting.Close() })
	}
}

// TestMaterializeWhatIsWrong: errors say where, and nothing is written.
func TestMaterializeWhatIsWrong(t *testing.T) {
	w := newWarehouse(t)
	w.apply(t)
	w.refused(t, `has no source "profile"; its sources are profiles, scores, baskets, clicks`, "profile")
	w.refused(t, `source "clicks" is no batch source: others write its topic`, "clicks")
	w.refused(t, "--since must be before --until", "profiles", "--since", "1h", "--until", "2h")
	w.refused(t, "--until is in the future", "profiles", "--until", "2199-01-01T00:00:00Z")
	w.refused(t, `--since: "soon" is neither a duration`, "profiles", "--since", "soon")
	w.refused(t, "does --sql name it", "profiles", "--sql", "postgres://127.0.0.1:1/nothing")
	w.refused(t, "it took longer than --deadline 1ns", "profiles", "--deadline", "1ns")
	late := append([]string{"materialize", "profiles", "--deadline", "300ms", "--kafka", unanswered(t)}, w.flags...)
	for range 5 { // a dial may see the deadline before the context does, and most do
		if code, _, complaints := run(t, late...); code == 0 || !strings.Contains(complaints, "it took longer than --deadline 300ms") {
			t.Errorf("exit status %d: %s", code, complaints)
		}
	}

	const good = "INSERT INTO WAREHOUSE.profiles VALUES (1, 'gold', '2026-01-01T00:00:00Z')"
	for _, c := range []struct{ sql, want string }{
		{"INSERT INTO WAREHOUSE.profiles VALUES (7, 'x', NULL)", `source "profiles": table ` + w.schema + `.profiles: the row of user_id 7: column "updated_at" has no value`},
		{"INSERT INTO WAREHOUSE.profiles VALUES (7, 'x', '1969-12-31T00:00:00Z')", `the row of user_id 7: column "updated_at" is 1969-12-31T00:00:00Z, which is not between 1970 and 2200`},
		{"INSERT INTO WAREHOUSE.profiles VALUES (7, 'x', '9999-12-31T00:00:00Z')", `is 9999-12-31T00:00:00Z, which is not between`},
		{"INSERT INTO WAREHOUSE.profiles VALUES (7, 'x', 'infinity')", "infinity is no moment"},
		{"INSERT INTO WAREHOUSE.profiles VALUES (NULL, 'x', '2026-01-02T00:00:00Z')", `the row of updated_at 2026-01-02T00:00:00Z: column "user_id" has no value, and the field is required`},
		{"INSERT INTO WAREHOUSE.profiles VALUES (7, repeat('x', 300), '2026-01-02T00:00:00Z')", `the row of user_id 7, updated_at 2026-01-02T00:00:00Z: column "segment" has a text of 300 bytes; at most 256`},
		{"ALTER TABLE WAREHOUSE.profiles ALTER updated_at TYPE timestamp", `column "updated_at" is a timestamp without a time zone`},
		{"ALTER TABLE WAREHOUSE.profiles ALTER updated_at TYPE date", `column "updated_at" is utf8; a timestamp with a time zone is needed`},
		{"ALTER TABLE WAREHOUSE.profiles ALTER user_id TYPE text", `column "user_id" is utf8; the field is int64`},
		{"ALTER TABLE WAREHOUSE.profiles DROP segment", `there is no column "segment", which is a field; there are user_id, updated_at, other`},
		{"ALTER TABLE WAREHOUSE.profiles DROP updated_at", `there is no column "updated_at", the event time; there are`},
		{"DROP TABLE WAREHOUSE.profiles", "does not exist"},
	} {
		w.exec(t, "DROP TABLE IF EXISTS WAREHOUSE.profiles")
		w.exec(t, "CREATE TABLE WAREHOUSE.profiles (user_id int, segment text, updated_at timestamptz, other json)")
		w.exec(t, good)
		w.exec(t, c.sql)
		w.refused(t, c.want, "profiles")
	}
	w.refused(t, "there are no files", "baskets")
	w.write(t, "baskets-1.csv", "user_id,at,goods\n1,2026-01-01T00:00:00Z,\n")
	for _, c := range []struct{ text, want string }{
		{"user_id,at,goods\n1,2026-01-02T00:00:00Z,\n2,2026-01-03T00:00:00Z,tea\n", `baskets-2.csv, row 2: column "goods" is no JSON`},
		{"user_id,at,goods\n1,2026-01-02T00:00:00Z,\n2,,\n", `baskets-2.csv, row 2: column "at" has no value`},
		{"user_id,at,goods\n1,2026-01-02,\n", `has no time zone`},
		{"user_id,at,goods\none,2026-01-02T00:00:00Z,\n", `row 1, column "user_id": "one" is not an integer`},
		{"user_id,goods\n1,\n", `baskets-2.csv: there is no column "at", the event time; there are user_id, goods`},
		{"", "it is empty"},
	} {
		w.write(t, "baskets-2.csv", c.text)
		w.refused(t, c.want, "baskets")
	}
	for _, source := range []string{"profiles", "baskets"} {
		// A table is read as it comes: what is before a row that is wrong may be written.
		if got := w.topic(t, source); len(got) > 0 {
			t.Errorf("%s: %d rows are written: %v", source, len(got), got)
		}
	}
}

// TestMaterializeQueries: one that writes is refused, and says so.
func TestMaterializeQueries(t *testing.T) {
	w := newWarehouse(t)
	cases := []struct{ query, want string }{
		{"DELETE FROM WAREHOUSE.scores RETURNING user_id, at", "the query writes, and may only read"},
		{"DELETE FROM WAREHOUSE.scores", "returns no rows: it must be one SELECT"},
		{"SELECT 1; SELECT 2", "give one statement"},
		{"SELECT user_id, nothing", "at character 8: "},
		{"SELECT now() AS at", `there is no column "user_id"`},
		{"SELECT 1 AS x, 2 AS x", `there are two columns "x"`},
	}
	var definitions strings.Builder
	definitions.WriteString("namespace: shop\nsources:\n")
	for i, c := range cases {
		fmt.Fprintf(&definitions, "  - {name: q%d, batch: {query: %q}, event_time: {field: at}, fields: [{name: user_id, type: int64}]}\n", i, c.query)
	}
	w.write(t, "definitions.yaml", w.sql(definitions.String()))
	mustRun(t, append([]string{"apply", filepath.Join(w.dir, "definitions.yaml")}, w.flags...)...)
	for i, c := range cases {
		source := fmt.Sprintf("q%d", i)
		if i == 0 {
			w.refused(t, `source "q0": the query: `, source, "--dry-run")
		}
		w.refused(t, c.want, source, "--dry-run")
	}
}

// TestMaterializeParquet: files need be in no order, and one that is cut short is refused whole.
func TestMaterializeParquet(t *testing.T) {
	w := newWarehouse(t)
	w.apply(t)
	name := filepath.Join(w.dir, "baskets-1.parquet")
	w.parquet(t, name, 9000)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "baskets-2.parquet", string(whole[:len(whole)/2]))
	w.refused(t, "baskets-2.parquet", "baskets")
	if err := os.Remove(filepath.Join(w.dir, "baskets-2.parquet")); err != nil {
		t.Fatal(err)
	}
	w.rows(t, 5000, "baskets", "--until", "2026-01-01T01:23:19Z")
	w.rows(t, 4000, "baskets")
	w.rows(t, 0, "baskets")
	counts := w.topic(t, "baskets")
	for value, n := range counts {
		if n != 1 {
			t.Errorf("%s is there %d times", value, n)
		}
	}
	if len(counts) != 9000 {
		t.Errorf("%d rows", len(counts))
	}
}

// parquet writes rows, one for each second of 2026, in no order.
func (w *warehouse) parquet(t *testing.T, name string, rows int) {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "Europe/Berlin"}},
		{Name: "user_id", Type: arrow.PrimitiveTypes.Int32},
		{Name: "goods", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	at, _ := b.Field(0).(*array.TimestampBuilder)
	user, _ := b.Field(1).(*array.Int32Builder)
	for i := range rows {
		at.Append(arrow.Timestamp(1_767_225_600_000 + (i*7919)%rows*1000))
		user.Append(int32(i))
		b.Field(2).AppendNull()
	}
	out, err := files.Create(name, nil, schema)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Abort()
	batch := b.NewRecordBatch()
	defer batch.Release()
	if err := errors.Join(out.Write(batch), out.Commit()); err != nil {
		t.Fatal(err)
	}
}
