package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/internal/cli"
	"github.com/onehop/onehop/internal/testenv"
)

const trainingDefinitions = `
namespace: shop
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
  - {name: place, keys: [{name: country, type: string}, {name: city, type: string}]}
sources:
  - name: orders
    format: json
    event_time: {field: at, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: country, type: string, required: true}
      - {name: city, type: string, required: true}
      - {name: amount, type: float64}
views:
  - name: user
    entity: user
    source: orders
    features:
      - {name: n, aggregate: count, windows: [lifetime]}
      - {name: last, aggregate: latest, field: amount}
  - name: place
    entity: place
    source: orders
    features: [{name: cities, aggregate: last_n, n: 2, field: amount}]
on_demand:
  - name: match
    request: [{name: hour, type: float64}]
    features:
      - {name: more, expression: user.n_lifetime + 1}
      - {name: both, expression: user.n_lifetime + size(place.cities)}
      - {name: late, expression: request.hour > 21.0}
services:
  - {name: both, features: [user.n_lifetime, place.cities, user.last]}
`

// shop is a namespace with a history.
type shop struct {
	pool      *pgxpool.Pool
	namespace string
	flags     []string
	dir       string
	events    []featurestore.Event // in history
}

var shopPartition = ingest.PartitionID{Topic: featurestore.TopicID{1}}

const tenOClock = 1_767_261_600_000_000 // 2026-01-01T10:00:00Z

// newShop has orders of user 1 in Rome at 10:00 (2), 10:01 (3, which arrived at 10:05) and
// 10:02 (none), and of user 2 in Oslo at 10:00 (7).
func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{namespace: testenv.Namespace(t), dir: t.TempDir()}
	s.flags = []string{"--postgres", testenv.Postgres(t), "--namespace", s.namespace}
	if err := os.Mkdir(s.file("definitions"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, "definitions/all.yaml", trainingDefinitions)
	mustRun(t, append([]string{"apply", s.file("definitions")}, s.flags...)...)
	var err error
	if s.pool, err = pgxpool.New(t.Context(), testenv.Postgres(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	minute := int64(60_000_000)
	s.fill(t, []featurestore.Event{
		order(0, 0, 1, "it", "Rome", featurestore.FloatValue(2)),
		order(minute, 4*minute, 1, "it", "Rome", featurestore.FloatValue(3)),
		order(2*minute, 0, 1, "it", "Rome", featurestore.Value{}),
		order(0, 0, 2, "no", "Oslo", featurestore.FloatValue(7)),
	})
	return s
}

func order(after, late, user int64, country, city string, amount featurestore.Value) featurestore.Event {
	return featurestore.Event{
		Position: featurestore.Position{Time: tenOClock + after}, RecordTime: tenOClock + after + late,
		Values: []featurestore.Value{featurestore.IntValue(user), featurestore.StringValue(country), featurestore.StringValue(city), amount},
	}
}

func (s *shop) fill(t *testing.T, events []featurestore.Event) {
	t.Helper()
	versions, err := registry.New(s.pool, s.namespace).Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table, err := history.Open(t.Context(), s.pool, s.namespace, versions[0].Source("orders"), versions[0].Lookups("orders"))
	if err != nil {
		t.Fatal(err)
	}
	w := table.NewWriter(shopPartition)
	from, err := w.Open(t.Context(), map[int32]ingest.Offsets{0: {End: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		events[i].Offset = from + int64(i)
	}
	if err := w.Process(t.Context(), ingest.Batch{From: from, To: from + int64(len(events)), Events: events}, 0); err != nil {
		t.Fatal(err)
	}
	s.events = append(s.events, events...)
}

func (s *shop) file(name string) string { return filepath.Join(s.dir, name) }

func (s *shop) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) args(args ...string) []string {
	return append(append([]string{"training-set"}, args...), s.flags...)
}

// joined runs the command over a spine in CSV.
func (s *shop) joined(t *testing.T, spine string, args ...string) string {
	t.Helper()
	s.write(t, "spine.csv", spine)
	return mustRun(t, s.args(append([]string{"--spine", s.file("spine.csv")}, args...)...)...)
}

const labels = `label,user_id,event_time,country,city,note
1,1,2026-01-01T10:03:00Z,it,Rome,007
0,2,2026-01-01T11:00:00+01:00,no,Oslo,
1,1,2026-01-01T10:01:00.000001Z,it,Milan,"a, b"
,,2026-01-01T10:03:00Z,no,,x
1,1,2026-01-01T10:03:00Z,it,Rome,007
0,2,2026-01-01T12:00:00Z,no,Oslo,
`

func TestTrainingSetOfAService(t *testing.T) {
	s := newShop(t)
	got := s.joined(t, labels, "--service", "both")
	want := `label,user_id,event_time,country,city,note,user.n_lifetime,place.cities,user.last
1,1,2026-01-01T10:03:00Z,it,Rome,007,3,"[3,2]",
0,2,2026-01-01T10:00:00Z,no,Oslo,,,,
1,1,2026-01-01T10:01:00.000001Z,it,Milan,"a, b",2,,3
,,2026-01-01T10:03:00Z,no,,x,,,
1,1,2026-01-01T10:03:00Z,it,Rome,007,3,"[3,2]",
0,2,2026-01-01T12:00:00Z,no,Oslo,,1,[7],7
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = s.joined(t, "user_id,event_time\n1,2026-01-01T10:03:00Z\n1,2026-01-01T10:05:00Z\n3,2026-01-01T10:05:00Z\n",
		"--features", "user.*", "--available", "--statuses", "--event-times")
	want = `user_id,event_time,user.n_lifetime,user.n_lifetime.status,user.n_lifetime.event_time,user.last,user.last.status,user.last.event_time
1,2026-01-01T10:03:00Z,2,PRESENT,2026-01-01T10:02:00Z,,NULL,2026-01-01T10:02:00Z
1,2026-01-01T10:05:00Z,3,PRESENT,2026-01-01T10:02:00Z,,NULL,2026-01-01T10:02:00Z
3,2026-01-01T10:05:00Z,,NOT_FOUND,,,NOT_FOUND,
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestTrainingSetFiles: a training set of any format is a spine of another, whose rows are
// the same.
func TestTrainingSetFiles(t *testing.T) {
	s := newShop(t)
	want := s.joined(t, labels, "--features", "user.n_lifetime,user.last,place.*")
	for _, name := range []string{"a.parquet", "b.feather", "c.arrow", "d.arrows", "e.csv"} {
		var summary struct {
			Rows, Features, Version int
			Views                   []struct {
				View   string
				Ways   []string
				Events int
			}
		}
		out := mustRun(t, s.args("--spine", s.file("spine.csv"), "--features", "user.n_lifetime", "--out", s.file(name), "--json")...)
		if err := json.Unmarshal([]byte(out), &summary); err != nil || summary.Rows != 6 || summary.Features != 1 || summary.Version != 1 ||
			len(summary.Views) != 1 || summary.Views[0].Events != 4 || len(summary.Views[0].Ways) != 1 {
			t.Errorf("%s: %v, %+v", name, err, summary)
		}
		got := mustRun(t, s.args("--spine", s.file(name), "--features", "user.last,place.*")...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTrainingSetOfAQuery(t *testing.T) {
	s := newShop(t)
	sql := `SELECT 1::int2 AS user_id, timestamptz '2026-01-01 10:03:00+00' AS event_time, 1.250::numeric AS num, 2.5::float4 AS f, 9::int8 AS big, true AS ok,
		'x'::varchar AS text, '\x00ff'::bytea AS raw, timestamp '2026-01-01 00:00' AS naive, date '2026-01-02' AS day,
		'00000000-0000-0000-0000-000000000001'::uuid AS id, NULL::int4 AS none, ARRAY[1,2] AS list`
	got := mustRun(t, s.args("--sql", sql, "--features", "user.*")...)
	want := `user_id,event_time,num,f,big,ok,text,raw,naive,day,id,none,list,user.n_lifetime,user.last
1,2026-01-01T10:03:00Z,1.25,2.5,9,true,x,AP8=,2026-01-01T00:00:00,2026-01-02,00000000-0000-0000-0000-000000000001,,"{1,2}",3,
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// More rows than a batch has, and than fit into a chunk of few.
	many := mustRun(t, s.args("--sql", "SELECT 1 + i % 3 AS user_id, timestamptz '2026-01-01 10:03:00+00' AS t FROM generate_series(0, 19999) AS i",
		"--features", "user.n_lifetime", "--time-column", "t")...)
	if strings.Count(many, "\n") != 20_001 || strings.Count(many, "\n1,2026-01-01T10:03:00Z,3") != 6667 || strings.Count(many, "\n3,2026-01-01T10:03:00Z,\n") != 6666 {
		t.Errorf("%d lines: %.300s", strings.Count(many, "\n"), many)
	}
	for sql, want := range map[string]string{
		"DELETE FROM onehop.offsets":                                  "returns no rows: it must be one SELECT",
		"DELETE FROM onehop.offsets RETURNING 1":                      "the query writes, and may only read",
		"WITH d AS (DELETE FROM onehop.offsets RETURNING 1) SELECT 1": "the query writes, and may only read",
		"SELECT 1; DELETE FROM onehop.offsets":                        "give one statement",
		"COMMIT":                                                      "returns no rows",
		"SELECT set_config('transaction_read_only', 'off', true)":     "read-write mode",
		"SELECT nothing":                                              `at character 8: ERROR: column "nothing" does not exist`,
		"SELECT $1::int AS user_id":                                   "has parameters",
		"SELECT 1 AS user_id":                                         `no column "event_time" of times`,
		"SELECT 1 AS user_id, timestamp '2026-01-01' AS event_time":   "without a time zone, so it may mean many moments",
		"SELECT 1 AS user_id, timestamptz 'infinity' AS event_time":   `row 1, column "event_time": infinity is no moment`,
		"SELECT 1 / (i - 3) AS user_id, now() AS event_time FROM generate_series(1, 5) AS i": "division by zero",
	} {
		code, out, complaints := run(t, s.args("--sql", sql, "--features", "user.*")...)
		if code != 1 || out != "" || !strings.Contains(complaints, want) {
			t.Errorf("%s: exit status %d, %q, %s", sql, code, out, complaints)
		}
	}
}

func TestTrainingSetsThatAreSmall(t *testing.T) {
	s := newShop(t)
	for spine, want := range map[string]string{
		"user_id,event_time\n":                                "user_id,event_time,user.last\n",
		"user_id,event_time\n2,2026-01-01T10:00:00.000001Z\n": "user_id,event_time,user.last\n2,2026-01-01T10:00:00.000001Z,7\n",
		"user_id,event_time\n2,1970-01-01T00:00:00Z\n":        "user_id,event_time,user.last\n2,1970-01-01T00:00:00Z,\n",
	} {
		if got := s.joined(t, spine, "--features", "user.last"); got != want {
			t.Errorf("%q: %q", spine, got)
		}
	}
	empty := s.joined(t, "user_id,event_time\n", "--features", "user.last", "--out", s.file("empty.parquet"), "--json")
	if got := mustRun(t, s.args("--spine", s.file("empty.parquet"), "--features", "user.n_lifetime")...); got != "user_id,event_time,user.last,user.n_lifetime\n" {
		t.Errorf("%s: %q", empty, got)
	}
}

// TestTrainingSetsThatAreWrong: what is complained of, and that no file is left.
func TestTrainingSetsThatAreWrong(t *testing.T) {
	s := newShop(t)
	s.write(t, "spine.parquet", "PAR1 and nothing else")
	for _, test := range []struct{ spine, args, want string }{
		{"user_id,event_time\n1,2026-01-01T10:00:00Z\nbob,2026-01-01T10:00:00Z\n", "--features user.*", `spine.csv: row 2, column "user_id": "bob" is not an integer`},
		{"user_id,event_time\n1,\n", "--features user.*", `spine.csv: row 1, column "event_time": there is no time`},
		{"user_id,event_time\n1,9999-01-01T00:00:00Z\n", "--features user.*", `row 1, column "event_time": 9999-01-01T00:00:00Z is not between 1970 and 2200`},
		{"user,event_time\n1,\n", "--features user.*", `no column "user_id", a join key of entity "user"`},
		{"user_id,event_time\n1\n", "--features user.*", `spine.csv: record on line 2: wrong number of fields`},
		{labels, "--features user.none", `view "user" has no feature "none"`},
		{labels, "--features users.*", `there is no feature view "users"`},
		{labels, "--features user.last,user.*", `asked for twice`},
		{labels, "--service none", `there is no feature service "none"`},
		{labels, "--service both --spine " + s.file("spine.parquet"), "spine.parquet"},
		{labels, "--service both --spine " + s.file("missing.csv"), "missing.csv"},
	} {
		s.write(t, "spine.csv", test.spine)
		args := append(strings.Fields("--spine "+s.file("spine.csv")+" --out "+s.file("out.parquet")), strings.Fields(test.args)...)
		code, out, complaints := run(t, s.args(args...)...)
		if code != 1 || out != "" || !strings.Contains(complaints, test.want) {
			t.Errorf("%s: exit status %d, %q, %s", test.args, code, out, complaints)
		}
		if left, err := filepath.Glob(s.file("*out.parquet*")); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left", test.args, left)
		}
	}
}

// held runs the command until a query of it waits for the history of the shop, which is
// locked. release unlocks it; stop is Ctrl-C.
func (s *shop) held(t *testing.T, args ...string) (pid int32, release func(statements ...string), stop context.CancelFunc, done chan int, out, complaints *buffer) {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE onehop_"+s.namespace+".orders IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done, out, complaints = make(chan int, 1), &buffer{}, &buffer{}
	go func() { done <- cli.Run(ctx, args, cli.Streams{In: strings.NewReader(""), Out: out, Err: complaints}) }()
	pid = s.running(t, "wait_event_type = 'Lock'", done, complaints)
	release = func(statements ...string) {
		for _, statement := range append(statements, "COMMIT") {
			if _, err := tx.Exec(t.Context(), statement); err != nil {
				t.Error(err)
			}
		}
		_ = tx.Rollback(t.Context()) // it is committed
	}
	return pid, release, stop, done, out, complaints
}

// running waits for a query of the namespace.
func (s *shop) running(t *testing.T, condition string, done chan int, complaints *buffer) (pid int32) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if pid := s.queries(t, condition); pid != 0 {
			return pid
		}
		select {
		case code := <-done:
			t.Fatalf("exit status %d before it was stopped: %s", code, complaints)
		case <-tick.C:
		}
	}
}

// queries is a process of Postgres that runs a query of the namespace, 0 for none.
func (s *shop) queries(t *testing.T, condition string) (pid int32) {
	t.Helper()
	err := s.pool.QueryRow(t.Context(), `SELECT coalesce(max(pid), 0) FROM pg_stat_activity
		WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%' AND `+condition, s.namespace).Scan(&pid)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestTrainingSetOutlivesPostgres: a connection that is lost costs nothing but time, and
// what history got meanwhile is not seen.
func TestTrainingSetOutlivesPostgres(t *testing.T) {
	s := newShop(t)
	s.write(t, "spine.csv", labels)
	want := s.joined(t, labels, "--service", "both")
	pid, release, stop, done, out, complaints := s.held(t, s.args("--spine", s.file("spine.csv"), "--service", "both")...)
	defer stop()
	if _, err := s.pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	release(
		"INSERT INTO onehop_"+s.namespace+".orders SELECT event_time, record_time, topic_id, kafka_partition, 500, event_index, deleted, f_user_id, f_country, f_city, 99 FROM onehop_"+s.namespace+".orders LIMIT 1",
		"UPDATE onehop.offsets SET next = 501 WHERE namespace = '"+s.namespace+"'",
	)
	if code := <-done; code != 0 {
		t.Fatalf("exit status %d: %s", code, complaints)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if text := complaints.String(); !strings.Contains(text, "Postgres went away") || !strings.Contains(text, "Postgres is back; going on") {
		t.Error(text)
	}
	if again := s.joined(t, labels, "--service", "both"); again == want {
		t.Error("the event that came meanwhile is nowhere")
	}
}

// TestTrainingSetStops: Ctrl-C stops the queries too, and leaves no file.
func TestTrainingSetStops(t *testing.T) {
	s := newShop(t)
	s.write(t, "spine.csv", labels)
	_, release, stop, done, _, complaints := s.held(t, s.args("--spine", s.file("spine.csv"), "--service", "both", "--out", s.file("out.csv"))...)
	defer release()
	stop()
	if code := <-done; code == 0 || strings.Contains(complaints.String(), "went away") {
		t.Errorf("exit status %d: %s", code, complaints)
	}
	s.quiet(t)
	if left, err := filepath.Glob(s.file("*out.csv*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done = make(chan int, 1)
	complaints = &buffer{}
	go func() {
		done <- cli.Run(ctx, s.args("--sql", "SELECT 1 AS user_id, now() AS event_time FROM pg_sleep(60) /* "+s.namespace+" */", "--service", "both"),
			cli.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: complaints})
	}()
	s.running(t, "wait_event = 'PgSleep'", done, complaints)
	stop()
	if code := <-done; code == 0 {
		t.Errorf("exit status %d: %s", code, complaints)
	}
	s.quiet(t)
}

// quiet checks that no query of the namespace runs: it was stopped before the command
// returned, for afterwards there is no process that could.
func (s *shop) quiet(t *testing.T) {
	t.Helper()
	if s.queries(t, "true") != 0 {
		t.Error("a query is left running")
	}
}
