package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/internal/testenv"
)

// exported is how many events a day's file has, 0 for none.
func (s *shop) exported(t *testing.T, day string) (rows int) {
	t.Helper()
	name := filepath.Join(s.file("lake"), "day="+day, "part-0.parquet")
	if _, err := os.Stat(name); err != nil {
		return 0
	}
	r, err := files.Open(t.Context(), name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	return int(r.Rows())
}

func (s *shop) export(args ...string) []string {
	return append(append([]string{"export", "orders", "--out", s.file("lake")}, args...), s.flags...)
}

func TestExport(t *testing.T) {
	s := newShop(t)
	day := int64(86_400_000_000)
	s.fill(t, []featurestore.Event{order(day, 0, 3, "it", "Rome", featurestore.FloatValue(1)), order(2*day, 0, 3, "it", "Rome", featurestore.FloatValue(1))})
	counts := func() [3]int {
		return [3]int{s.exported(t, "2026-01-01"), s.exported(t, "2026-01-02"), s.exported(t, "2026-01-03")}
	}
	for _, c := range []struct {
		args []string
		want string
		days [3]int
	}{
		{[]string{"--from", "2026-01-02", "--to", "2026-01-03"}, `"days": 1, "events": 1, "skipped": 0`, [3]int{0, 1, 0}},
		{nil, `"days": 2, "events": 5, "skipped": 1`, [3]int{4, 1, 1}},
		{nil, `"days": 0, "events": 0, "skipped": 3`, [3]int{4, 1, 1}},
		{[]string{"--overwrite", "--from", "2026-01-02"}, `"days": 2, "events": 2, "skipped": 0`, [3]int{4, 1, 1}},
	} {
		out := strings.Join(strings.Fields(mustRun(t, s.export(append(c.args, "--json")...)...)), " ")
		if got := counts(); !strings.Contains(out, c.want) || got != c.days {
			t.Errorf("%v: %s, %v", c.args, out, got)
		}
	}
	for want, args := range map[string][]string{
		`has no source "none"; its sources are orders`: append([]string{"export", "none", "--out", s.file("x")}, s.flags...),
		`"yesterday" is no day such as 2026-01-31`:     s.export("--from", "yesterday"),
		"--to must be after --from":                    s.export("--from", "2026-01-02", "--to", "2026-01-02"),
	} {
		if code, _, complaints := run(t, args...); code == 0 || !strings.Contains(complaints, want) {
			t.Errorf("%v: %d, %s", args, code, complaints)
		}
	}
}

// TestExportOutlivesPostgres: a day that is interrupted is begun again, and what history got
// meanwhile is not in it.
func TestExportOutlivesPostgres(t *testing.T) {
	s := newShop(t)
	table := "onehop_" + s.namespace + ".orders"
	// The days are listed, and then the first one waits.
	pid, release, stop, done, _, complaints := s.held(t, s.export()...)
	defer stop()
	if _, err := s.pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	release(
		"INSERT INTO "+table+" SELECT event_time, record_time, topic_id, kafka_partition, 500, event_index, deleted, f_user_id, f_country, f_city, 99 FROM "+table+" LIMIT 1",
		"UPDATE onehop.offsets SET next = 501 WHERE namespace = '"+s.namespace+"'",
	)
	if code := <-done; code != 0 || !strings.Contains(complaints.String(), "Postgres is back; going on") {
		t.Fatalf("exit status %d: %s", code, complaints)
	}
	if n := s.exported(t, "2026-01-01"); n != 4 {
		t.Errorf("%d events, not the 4 of when it began", n)
	}
	mustRun(t, s.export()...)
	if n := s.exported(t, "2026-01-01"); n != 5 {
		t.Errorf("%d events, not the 5 that there are now", n)
	}
}

const pastOrders = `user_id,country,city,amount,event_time
1,it,Rome,100,2025-06-01T00:00:00Z
9,no,Oslo,,2025-06-02T00:00:00Z
`

// TestImport: training sets have the events, once, and nothing of a file is there when
// another one is not good.
func TestImport(t *testing.T) {
	s := newShop(t)
	s.write(t, "past.csv", pastOrders)
	s.write(t, "bad.csv", strings.ReplaceAll(pastOrders, "9,", "nine,"))
	s.write(t, "worse.csv", "user_id\n")
	spine := "user_id,event_time\n1,2026-02-01T00:00:00Z\n9,2025-06-02T00:00:01Z\n1,2025-12-01T00:00:00Z\n"
	joined := func() string { return s.joined(t, spine, "--features", "user.n_lifetime") }
	before := joined()
	importing := func(names ...string) []string {
		args := []string{"import", "orders"}
		for _, name := range names {
			args = append(args, s.file(name))
		}
		return append(args, s.flags...)
	}
	code, _, complaints := run(t, importing("past.csv", "bad.csv", "worse.csv")...)
	for _, want := range []string{`bad.csv, row 2: column "user_id" is "nine"; int64 as text is needed`, `worse.csv: there is no column "event_time"`, "nothing was imported"} {
		if code != 1 || !strings.Contains(complaints, want) {
			t.Errorf("exit status %d: %s, want %s", code, complaints, want)
		}
	}
	if code, _, complaints := run(t, "import", "orders", "past.csv"); code != 64 || !strings.Contains(complaints, "--postgres") {
		t.Errorf("exit status %d: %s", code, complaints)
	}
	mustRun(t, append(importing("past.csv"), "--check")...)
	if diff := cmp.Diff(before, joined()); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"past.csv: 2 events imported in ", "past.csv: it is in history already, with 2 events\n"} {
		code, _, complaints := run(t, importing("past.csv")...)
		if code != 0 || !strings.Contains(complaints, want) || !strings.Contains(complaints, "Rows in Redis do not: they are folded from Kafka.") {
			t.Errorf("exit status %d: %s", code, complaints)
		}
		if diff := cmp.Diff("user_id,event_time,user.n_lifetime\n1,2026-02-01T00:00:00Z,4\n9,2025-06-02T00:00:01Z,1\n1,2025-12-01T00:00:00Z,1\n", joined()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestImportsAreFoldedLikeOthers: kept values of imported events are in training sets, and a
// row that holds them can be read again.
func TestImportsAreFoldedLikeOthers(t *testing.T) {
	s := newShop(t)
	s.write(t, "past.csv", pastOrders)
	mustRun(t, append([]string{"import", "orders", s.file("past.csv")}, s.flags...)...)
	spine := "user_id,country,city,event_time\n1,it,Rome,2025-12-01T00:00:00Z\n1,it,Rome,2026-02-01T00:00:00Z\n9,no,Oslo,2025-06-02T00:00:01Z\n"
	got := s.joined(t, spine, "--features", "user.last,place.cities")
	want := "user_id,country,city,event_time,user.last,place.cities\n1,it,Rome,2025-12-01T00:00:00Z,100,[100]\n1,it,Rome,2026-02-01T00:00:00Z,,\"[3,2]\"\n9,no,Oslo,2025-06-02T00:00:01Z,,[]\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	mustRun(t, append([]string{"stats", "--service", "both"}, s.flags...)...)
}

// TestImportsThatAreRefused: what is there already, what has not happened yet, and what nobody
// may add to.
func TestImportsThatAreRefused(t *testing.T) {
	s := newShop(t)
	mustRun(t, s.export()...)
	s.write(t, "future.csv", strings.Replace(pastOrders, "2025-06-02", "2199-11-20", 1))
	for name, want := range map[string]string{
		"lake/day=2026-01-01/part-0.parquet": `row 1: column "topic_id" is 01000000000000000000000000000000, of which history has the events: the file is an export of source "orders" itself`,
		"future.csv":                         `row 2: column "event_time" is 2199-11-20T00:00:00Z, which is in the future`,
	} {
		code, _, complaints := run(t, append([]string{"import", "orders", s.file(name)}, s.flags...)...)
		if code != 1 || !strings.Contains(complaints, want) || !strings.Contains(complaints, "nothing was imported") {
			t.Errorf("%s: exit status %d: %s", name, code, complaints)
		}
	}
	if code, _, complaints := run(t, append([]string{"export", "orders", "--out", "/proc/none"}, s.flags...)...); code != 1 || strings.Contains(complaints, "Postgres") {
		t.Errorf("a folder that cannot be: exit status %d: %s", code, complaints)
	}
}

// TestImportOutlivesPostgres: it begins anew, and what is stopped leaves nothing.
func TestImportOutlivesPostgres(t *testing.T) {
	s := newShop(t)
	s.write(t, "past.csv", pastOrders)
	importing := append([]string{"import", "orders", s.file("past.csv")}, s.flags...)
	events := func() (n int) {
		if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM onehop_"+s.namespace+".orders WHERE kafka_partition = -1").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	_, release, stop, done, _, complaints := s.held(t, importing...)
	stop()
	code := <-done
	release()
	if code == 0 || !strings.Contains(complaints.String(), "nothing was imported") || events() != 0 {
		t.Errorf("stopped: exit status %d, %d events: %s", code, events(), complaints)
	}
	pid, release, stop, done, _, complaints := s.held(t, importing...)
	defer stop()
	if _, err := s.pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	release()
	if code := <-done; code != 0 || !strings.Contains(complaints.String(), "Postgres is back; going on") || events() != 2 {
		t.Errorf("exit status %d, %d events: %s", code, events(), complaints)
	}
}

const forgetful = `
namespace: shop
entities: [{name: user, keys: [{name: user_id, type: int64}]}]
sources:
  - name: orders
    format: json
    tombstone: delete
    event_time: {field: at, unit: us}
    fields: [{name: user_id, type: int64, required: true, key: true}]
views:
  - {name: user, entity: user, source: orders, features: [{name: n, aggregate: count, windows: [lifetime]}]}
`

// TestTombstonesForgetImports: an entity that was forgotten stays so when its past comes in
// from a file.
func TestTombstonesForgetImports(t *testing.T) {
	s := newShop(t)
	s.namespace = testenv.Namespace(t)
	s.flags[3] = s.namespace
	s.write(t, "definitions/all.yaml", forgetful)
	mustRun(t, append([]string{"apply", s.file("definitions")}, s.flags...)...)
	event := func(after int64, tombstone bool) featurestore.Event {
		return featurestore.Event{
			Position: featurestore.Position{Time: tenOClock + after}, RecordTime: tenOClock + after, Delete: tombstone,
			Values: []featurestore.Value{featurestore.IntValue(1)},
		}
	}
	s.fill(t, []featurestore.Event{event(0, false), event(60e6, true), event(30e6, false), event(120e6, false)}) // one is late
	s.write(t, "past.csv", "user_id,event_time\n1,2025-06-01T00:00:00Z\n1,2025-07-01T00:00:00Z\n")
	mustRun(t, append([]string{"import", "orders", s.file("past.csv")}, s.flags...)...)
	got := s.joined(t, "user_id,event_time\n1,2026-01-01T10:00:59Z\n1,2026-01-01T10:01:01Z\n1,2026-02-01T00:00:00Z\n", "--features", "user.n_lifetime")
	if diff := cmp.Diff("user_id,event_time,user.n_lifetime\n1,2026-01-01T10:00:59Z,4\n1,2026-01-01T10:01:01Z,1\n1,2026-02-01T00:00:00Z,2\n", got); diff != "" {
		t.Error(diff)
	}
}

// TestTrainingSetOfDroppedHistory: a row that needs what the retention dropped is refused.
func TestTrainingSetOfDroppedHistory(t *testing.T) {
	s := newShop(t)
	if _, err := s.pool.Exec(t.Context(), "INSERT INTO onehop.dropped VALUES ($1, 'orders', '2026-01-01T00:00:00Z')", s.namespace); err != nil {
		t.Fatal(err)
	}
	s.write(t, "spine.csv", labels)
	code, out, complaints := run(t, s.args("--spine", s.file("spine.csv"), "--features", "user.n_lifetime")...)
	if code != 1 || out != "" || !strings.Contains(complaints, `a row needs all events of source "orders", and history begins at 2026-01-01T00:00:00Z: older ones were dropped, as the source's retention says`) {
		t.Errorf("exit status %d: %s%s", code, out, complaints)
	}
}
