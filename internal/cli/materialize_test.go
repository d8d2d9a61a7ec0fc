package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/onehoptest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// batchDefinitions has a source of each kind; WAREHOUSE is where the tables are.
const batchDefinitions = `
namespace: shop
entities: [{name: user, keys: [{name: user_id, type: int64}]}]
sources:
  - name: profiles
    batch: {table: WAREHOUSE.profiles}
    event_time: {field: updated_at}
    fields: [{name: user_id, type: int64, required: true}, {name: segment, type: string}]
  - name: scores
    batch: {query: "SELECT *, at + interval '0' AS moment, to_json(tags) AS labels FROM WAREHOUSE.scores -- all"}
    event_time: {field: moment}
    max_age: 3650d
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: score, type: float64, default: 0.5}
      - {name: labels, type: list<string>}
      - {name: raw, type: bytes}
      - {name: ok, type: bool}
  - name: baskets
    batch: {files: "baskets-*"}
    event_time: {field: at}
    fields: [{name: user_id, type: int64, required: true}, {name: goods, type: list<string>}]
  - name: clicks
    format: json
    event_time: {field: at, unit: us}
    fields: [{name: user_id, type: int64, required: true}]
views:
  - name: profile
    entity: user
    source: profiles
    ttl: 30d
    features: [{name: segment, aggregate: latest, field: segment}, {name: n, aggregate: count, windows: [lifetime]}]
  - name: score
    entity: user
    source: scores
    features:
      - {name: score, aggregate: latest, field: score}
      - {name: labels, aggregate: latest, field: labels}
      - {name: raw, aggregate: latest, field: raw}
      - {name: ok, aggregate: latest, field: ok}
  - {name: basket, entity: user, source: baskets, features: [{name: goods, aggregate: latest, field: goods}]}
  - {name: clicks, entity: user, source: clicks, features: [{name: n, aggregate: count, windows: [1h]}]}
`

// warehouse is a Postgres with tables, in a schema of the test's own, and a directory of files.
type warehouse struct {
	pool   *pgxpool.Pool
	schema string
	dir    string
	flags  []string
}

// newWarehouse makes the tables.
func newWarehouse(t *testing.T) *warehouse {
	t.Helper()
	namespace := testenv.Namespace(t)
	w := &warehouse{schema: "w_" + namespace, dir: t.TempDir()}
	w.flags = []string{"--namespace", namespace, "--postgres", testenv.Postgres(t)}
	var err error
	if w.pool, err = pgxpool.New(t.Context(), testenv.Postgres(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.pool.Close)
	w.exec(t, "CREATE SCHEMA WAREHOUSE")
	t.Cleanup(func() {
		_, _ = w.pool.Exec(context.WithoutCancel(t.Context()), "DROP SCHEMA "+w.schema+" CASCADE")
	})
	w.exec(t, "CREATE TABLE WAREHOUSE.profiles (user_id int, segment text, updated_at timestamptz, other json)")
	w.exec(t, "CREATE TABLE WAREHOUSE.scores (user_id bigint, score numeric, tags text[], raw bytea, ok bool, at timestamptz)")
	return w
}

func (w *warehouse) sql(text string) string { return strings.ReplaceAll(text, "WAREHOUSE", w.schema) }

func (w *warehouse) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.pool.Exec(t.Context(), w.sql(sql), args...); err != nil {
		t.Fatal(err)
	}
}

func (w *warehouse) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *warehouse) args(t *testing.T, source string, args ...string) []string {
	t.Helper()
	all := append([]string{"materialize", source, "--files", w.dir, "--kafka", strings.Join(testenv.Kafka(t), ",")}, args...)
	return append(all, w.flags...)
}

// rows runs onehop materialize and expects so many rows.
func (w *warehouse) rows(t *testing.T, want int64, source string, args ...string) {
	t.Helper()
	var summary struct{ Rows int64 }
	out := mustRun(t, w.args(t, source, append(args, "--json")...)...)
	if err := json.Unmarshal([]byte(out), &summary); err != nil || summary.Rows != want {
		t.Fatalf("%s: %d rows, not %d: %v\n%s", source, summary.Rows, want, err, out)
	}
}

// refused runs onehop materialize, which is to say no.
func (w *warehouse) refused(t *testing.T, want, source string, args ...string) {
	t.Helper()
	code, out, complaints := run(t, w.args(t, source, args...)...)
	if code == 0 || !strings.Contains(complaints, want) {
		t.Errorf("%s: exit status %d, want %q\n%s%s", source, code, want, out, complaints)
	}
}

// onlineOf is a feature of users 1 to 3: value and status.
func onlineOf(t *testing.T, o *onehoptest.Onehop, feature string) string {
	t.Helper()
	res, err := o.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{feature}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{1, 2, 3}}},
	})
	if err != nil {
		return err.Error()
	}
	var list []string
	column := res.GetColumns()[0]
	for i, status := range column.GetStatuses() {
		cell := status.String()
		if v := column.GetValues(); i < len(v.GetString_()) {
			cell += " " + v.GetString_()[i]
		}
		if v := column.GetValues(); i < len(v.GetInt64()) {
			cell += fmt.Sprint(" ", v.GetInt64()[i])
		}
		list = append(list, cell)
	}
	return strings.Join(list, ",")
}

func expectOnline(t *testing.T, o *onehoptest.Onehop, feature, want string) {
	t.Helper()
	eventually(t, feature, func() error {
		if got := onlineOf(t, o, feature); got != want {
			return fmt.Errorf("%s, not %s", got, want)
		}
		return nil
	})
}

func TestMaterialize(t *testing.T) {
	w := newWarehouse(t)
	o := onehoptest.Start(t, onehoptest.Options{
		Kafka: testenv.Kafka(t), Redis: testenv.Redis(t), Postgres: testenv.Postgres(t), Namespace: w.flags[1],
	})
	o.ApplyText(t, w.sql(batchDefinitions))
	w.exec(t, `INSERT INTO WAREHOUSE.profiles VALUES (1, 'iron', now() - interval '400 days'), (1, 'gold', now() - interval '10 days'),
		(2, 'tin', now() - interval '40 days'), (3, 'later', now() + interval '1 hour')`)
	w.rows(t, 3, "profiles", "--dry-run")
	w.rows(t, 3, "profiles", "--sql", testenv.Postgres(t))
	expectOnline(t, o, "profile.segment", "STATUS_PRESENT gold,STATUS_EXPIRED ,STATUS_NOT_FOUND ")

	w.rows(t, 0, "profiles")
	w.exec(t, `INSERT INTO WAREHOUSE.profiles VALUES (2, 'silver', now()), (2, 'missed', now() - interval '20 days')`)
	w.rows(t, 0, "profiles", "--until", "1h")
	w.rows(t, 1, "profiles")
	expectOnline(t, o, "profile.segment", "STATUS_PRESENT gold,STATUS_PRESENT silver,STATUS_NOT_FOUND ")
	w.rows(t, 2, "profiles", "--since", "500h", "--until", "240h") // gold a second time, and what was missed
	w.rows(t, 1, "profiles", "--dry-run", "--since", "1h")
	expectOnline(t, o, "profile.n_lifetime", "STATUS_PRESENT 3,STATUS_PRESENT 3,STATUS_NOT_FOUND 0")

	training := func(spine string) string {
		w.write(t, "spine.csv", spine)
		return mustRun(t, append([]string{"training-set", "--spine", filepath.Join(w.dir, "spine.csv"), "--features", "profile.segment", "--statuses"}, w.flags...)...)
	}
	day := func(ago int) string {
		return time.Now().Add(-time.Duration(ago) * 24 * time.Hour).UTC().Format(time.RFC3339)
	}
	eventually(t, "history", func() error {
		got := training(fmt.Sprintf("user_id,event_time\n1,%s\n2,%s\n1,%s\n2,%s\n2,%s\n3,%s\n", day(0), day(0), day(395), day(39), day(5), day(0)))
		var cells []string
		for _, row := range strings.Split(strings.TrimSpace(got), "\n")[1:] {
			_, cell, _ := strings.Cut(row, "Z,")
			cells = append(cells, cell)
		}
		if got := strings.Join(cells, " "); got != "gold,PRESENT silver,PRESENT iron,PRESENT tin,PRESENT missed,PRESENT ,NOT_FOUND" {
			return fmt.Errorf("the training set has %s", got)
		}
		return nil
	})

	_, err := o.Features().PushEvents(t.Context(), &onehopv1.PushEventsRequest{Source: "profiles", Events: []string{`{}`}})
	if err == nil || !strings.Contains(err.Error(), "it is a batch source, whose rows onehop materialize brings from table "+w.schema+".profiles") {
		t.Errorf("a push: %v", err)
	}

	w.exec(t, `INSERT INTO WAREHOUSE.scores VALUES (1, 2.25, '{a,"b c"}', '\x00ff', true, '2026-01-02T03:04:05.123456Z'), (2, NULL, NULL, NULL, NULL, '2026-01-02T03:04:05.123456Z'),
		(3, 1, NULL, NULL, NULL, '2001-01-01T00:00:00Z')`)
	w.rows(t, 2, "scores") // the third is older than max_age
	w.rows(t, 0, "scores")
	w.write(t, "baskets-1.csv", "user_id,at,goods\n1,2026-01-02T03:04:05Z,\"[\"\"tea\"\"]\"\n1,2026-01-01T03:04:05Z,\n")
	w.rows(t, 2, "baskets")
	w.write(t, "baskets-2.csv", "goods,at,user_id\n\"[\"\"rice\"\",\"\"a\"\"]\",2026-01-03T03:04:05Z,1\n")
	w.rows(t, 1, "baskets")
	w.write(t, "spine.csv", "user_id,event_time\n1,2026-01-02T03:04:06Z\n2,2026-01-02T03:04:06Z\n1,2026-01-04T00:00:00Z\n1,2026-01-02T00:00:00Z\n")
	const want = `user_id,event_time,score.score,score.labels,score.raw,score.ok,basket.goods
1,2026-01-02T03:04:06Z,2.25,"[""a"",""b c""]",AP8=,true,"[""tea""]"
2,2026-01-02T03:04:06Z,0.5,,,,
1,2026-01-04T00:00:00Z,2.25,"[""a"",""b c""]",AP8=,true,"[""rice"",""a""]"
1,2026-01-02T00:00:00Z,,,,,
`
	args := append([]string{"training-set", "--features", "score.*,basket.*", "--spine", filepath.Join(w.dir, "spine.csv")}, w.flags...)
	eventually(t, "history of all sources", func() error {
		if got := mustRun(t, args...); got != want {
			return fmt.Errorf("the training set is\n%s", got)
		}
		return nil
	})
	eventually(t, "onehop verify", func() error {
		code, out, complaints := run(t, append([]string{"verify", "--redis", testenv.Redis(t)}, w.flags...)...)
		if code != 0 {
			return fmt.Errorf("exit status %d: %s%s", code, out, complaints)
		}
		return nil
	})
}
