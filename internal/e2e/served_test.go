package e2e

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5"

	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// servedDefinitions log all that the service and the model give.
var servedDefinitions = strings.NewReplacer(
	"place_ratings.*, match.*]", "user_ratings.last_notes, place_ratings.*, match.*]\n    log: {sample: 1}",
	"candidates: place", "candidates: place\n    log: {sample: 1, retention: 90d}",
).Replace(rankDefinitions)

// skew is what verify --served says.
type skew struct {
	Vectors, Points, Different int
	Skew                       float64
	Unchecked                  map[string]int
	Differences                []struct {
		Feature, Served, History, Reason string
		RequestID                        string `json:"request_id"`
	}
}

func (s *stack) skew(t *testing.T) (status int, got skew) {
	t.Helper()
	status, out := s.historyTool(t, "verify", "--served", "--sample", "0", "--json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return status, got
}

// named is a context whose calls bring the id of a request.
func named(ctx context.Context, id string) context.Context {
	ctx, call := connect.NewClientContext(ctx)
	call.RequestHeader().Set("X-Request-Id", id)
	return ctx
}

// TestServedIsRecomputed: what was served while events arrived, some of them from the future, and
// ingest was killed three times, is what history gives at the same read times and watermarks, to the last value; a value that
// is changed in the log is found.
func TestServedIsRecomputed(t *testing.T) {
	s, ingest := rankStackOf(t, servedDefinitions)
	now := time.Now()
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", visit(1, "de|x", "y", 4, now))...)
	enough := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-enough:
				return
			default:
			}
			at := time.Now()
			if i%7 == 0 {
				at = at.Add(30 * time.Second) // a fast clock
			}
			s.onehop.Produce(t, "ratings", visit(1+i%5, "de|x", "y", float64(i%9)/2+0.1, at), visit(1+i%3, "de", "x|y", 1, at))
		}
	})
	stop := sync.OnceFunc(func() {
		close(enough)
		feeding.Wait()
	})
	defer stop()
	const requests = 60
	vectors := 0
	last := map[string]string{}
	for i := range requests {
		id := "request-" + strconv.Itoa(i)
		if i%20 == 10 {
			ingest.kill()
			ingest = s.startIngest(t)
		}
		if i%2 == 0 {
			res, err := s.onehop.Inference().GetFeaturesAndPredict(named(t.Context(), id), rankRequest())
			if err != nil {
				t.Fatal(err)
			}
			vectors += 3
			last["score"] = strconv.FormatFloat(float64(res.GetScores()[0]), 'g', -1, 64)
			continue
		}
		res, err := s.onehop.Features().GetOnlineFeatures(named(t.Context(), id), &onehopv1.GetOnlineFeaturesRequest{
			FeatureService: "ranker", Request: map[string]*onehopv1.Values{"hour": {Double: []float64{11.5}}},
			Entities: map[string]*onehopv1.Values{
				"user_id": {Int64: []int64{1, 99}}, "country": {String_: []string{"de|x", "de"}}, "city": {String_: []string{"y", "x|y"}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		vectors += 2
		last["count"] = strconv.FormatInt(res.GetColumns()[0].GetValues().GetInt64()[0], 10)
		last["mean"] = strconv.FormatFloat(res.GetColumns()[1].GetValues().GetDouble()[0], 'g', -1, 64)
		last["gap"] = strconv.FormatFloat(res.GetColumns()[5].GetValues().GetDouble()[0], 'g', -1, 64)
		last["read"] = strconv.FormatInt(res.GetReadTimeUs(), 10)
	}
	stop()
	points := requests/2*3*6 + requests/2*2*7
	s.waitLogged(t, vectors)
	status, got := s.skew(t)
	if status != 0 || got.Vectors != vectors || got.Points != points || got.Different != 0 || len(got.Unchecked) != 0 {
		t.Fatalf("exit status %d, %+v; want %d vectors with %d values and no skew", status, got, vectors, points)
	}
	s.checkLogSet(t, last, requests)
	s.changeLog(t)
	status, got = s.skew(t)
	if status != 1 || got.Different != 1 || got.Differences[0].Feature != "user_ratings.count_1h" || got.Differences[0].Served != "99999" ||
		got.Differences[0].RequestID != "request-1" || got.Skew != 1/float64(points) {
		t.Errorf("after a change of the log: exit status %d, %+v", status, got)
	}
	s.checkForgotten(t)
	_, err := s.onehop.Features().PushEvents(t.Context(), &onehopv1.PushEventsRequest{Source: "served", Events: []string{"{}"}})
	if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "serving log") {
		t.Errorf("an event was pushed to the serving log: %v", err)
	}
}

// TestNothingServedIsSkewed: of 100,000 values served while events arrive, some late, and ingest is
// killed four times, and of all rows after that, none differs from what history gives.
func TestNothingServedIsSkewed(t *testing.T) {
	const users, requests = 500, 32
	s, ingest := rankStackOf(t, servedDefinitions)
	enough, fed := make(chan struct{}), make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-enough:
				return
			default:
			}
			at := time.Now().Add(-time.Duration(i%50) * 10 * time.Second) // some late
			var events []any
			for j := range 20 {
				events = append(events, visit((i*20+j)%users, "de", "x|y", float64(j)/2, at), visit((i+j*31)%users, "de|x", "y", 3, at))
			}
			s.onehop.Produce(t, "ratings", events...)
			select {
			case fed <- struct{}{}:
			default:
			}
		}
	})
	stop := sync.OnceFunc(func() {
		close(enough)
		feeding.Wait()
	})
	defer stop()
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", visit(1, "de", "x", 1, time.Now()))...)
	keys, country, city := make([]int64, users), make([]string, users), make([]string, users)
	for i := range keys {
		keys[i], country[i], city[i] = int64(i), "de", "x|y"
	}
	for i := range requests {
		if i%8 == 4 {
			ingest.kill()
			ingest = s.startIngest(t)
		}
		_, err := s.onehop.Features().GetOnlineFeatures(named(t.Context(), "request-"+strconv.Itoa(i)), &onehopv1.GetOnlineFeaturesRequest{
			FeatureService: "ranker", Request: map[string]*onehopv1.Values{"hour": {Double: []float64{float64(i)}}},
			Entities: map[string]*onehopv1.Values{"user_id": {Int64: keys}, "country": {String_: country}, "city": {String_: city}},
		})
		if err != nil {
			t.Fatal(err)
		}
		<-fed // events arrive
	}
	stop()
	s.waitLogged(t, requests*users)
	const points = requests * users * 7
	status, got := s.skew(t)
	if status != 0 || got.Points != points || got.Different != 0 || len(got.Unchecked) != 0 {
		t.Errorf("served: exit status %d, %+v; want %d values and no skew", status, got, points)
	}
	eventually(t, 20*time.Second, "verifying all rows", func() error { // once history is as far as they are
		status, out := s.tool(t, "verify", "--sample", "0", "--json", "--redis", s.redis)
		if status != 0 || strings.Contains(out, `"unchecked"`) {
			return fmt.Errorf("exit status %d: %.2000s", status, out)
		}
		return nil
	})
}

// checkForgotten deletes an entity: its vectors are gone, and what was computed from its events
// is not compared any more.
func (s *stack) checkForgotten(t *testing.T) {
	t.Helper()
	status, out := s.tool(t, "delete-entity", "place", "de|x", "y", "--yes", "--json", "--kafka", strings.Join(s.kafka, ","))
	if status != 0 || !strings.Contains(out, `"served"`) {
		t.Fatalf("exit status %d: %s", status, out)
	}
	var n int
	if err := s.connect(t).QueryRow(t.Context(), "SELECT count(*) FROM "+s.logTable()+` WHERE 'place=de\|x|y' = ANY(f_entities)`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d vectors of an entity that was deleted are left, %v", n, err)
	}
	if status, got := s.skew(t); status != 0 || got.Vectors == 0 || got.Points != 0 || got.Unchecked["events were deleted"] == 0 {
		t.Errorf("after a deletion: exit status %d, %+v", status, got)
	}
}

// waitLogged waits until history has so many vectors.
func (s *stack) waitLogged(t *testing.T, vectors int) {
	t.Helper()
	conn := s.connect(t)
	eventually(t, 30*time.Second, "the vectors are in history", func() error {
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+s.logTable()).Scan(&n); err != nil || n != vectors {
			return fmt.Errorf("%d vectors of %d: %w", n, vectors, err)
		}
		return nil
	})
}

func (s *stack) logTable() string {
	return pgx.Identifier{"onehop_" + s.namespace, "served"}.Sanitize()
}

func (s *stack) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.postgres)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// changeLog changes one value of one vector.
func (s *stack) changeLog(t *testing.T) {
	t.Helper()
	tag, err := s.connect(t).Exec(t.Context(), "UPDATE "+s.logTable()+" SET f_values[1] = '99999' WHERE f_request_id = 'request-1' AND f_row = 0")
	if err != nil || tag.RowsAffected() != 1 {
		t.Fatal(tag, err)
	}
}

// checkLogSet compares training sets from the log with what the last requests were answered.
func (s *stack) checkLogSet(t *testing.T, last map[string]string, requests int) {
	t.Helper()
	status, out := s.historyTool(t, "training-set", "--from-log", "service/ranker", "--statuses")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if status != 0 || err != nil || len(rows) != 1+requests/2*2 {
		t.Fatalf("exit status %d, %v, %d rows: %s", status, err, len(rows), out)
	}
	find := func(rows [][]string, id, row string) map[string]string {
		for _, r := range rows[1:] {
			if r[0] == id && r[1] == row {
				found := map[string]string{}
				for i, name := range rows[0] {
					found[name] = r[i]
				}
				return found
			}
		}
		t.Fatalf("no vector %s of request %s", row, id)
		return nil
	}
	id := "request-" + strconv.Itoa(requests-1)
	first := find(rows, id, "0")
	at, err := time.Parse(time.RFC3339Nano, first["event_time"])
	if err != nil || strconv.FormatInt(at.UnixMicro(), 10) != last["read"] || first["user_id"] != "1" || first["country"] != "de|x" || first["city"] != "y" ||
		first["user_ratings.count_1h"] != last["count"] || first["user_ratings.mean_1h"] != last["mean"] || !strings.Contains(first["user_ratings.last_notes"], `"é1"`) {
		t.Errorf("%v\nwas logged; served was %v", first, last)
	}
	if first["match.gap"] != last["gap"] || first["request.hour"] != "11.5" {
		t.Errorf("%v was logged; on demand %v was served", first, last["gap"])
	}
	if second := find(rows, id, "1"); second["user_ratings.mean_1h"] != "" || second["user_ratings.mean_1h.status"] != "NOT_FOUND" {
		t.Errorf("a user who is not known was logged as %v", second)
	}
	status, out = s.historyTool(t, "training-set", "--from-log", "model/ranker", "--scores")
	rows, err = csv.NewReader(strings.NewReader(out)).ReadAll()
	if status != 0 || err != nil || len(rows) != 1+requests/2*3 {
		t.Fatalf("exit status %d, %v, %d rows", status, err, len(rows))
	}
	best := ""
	for row := range 3 {
		v := find(rows, "request-"+strconv.Itoa(requests-2), strconv.Itoa(row))
		if v["request.hour"] != "12" || v["model_version"] != "1" {
			t.Errorf("logged %v", v)
		}
		if v["score"] == last["score"] {
			best = v["city"]
		}
	}
	if best == "" {
		t.Errorf("no vector has the score %s of the best candidate", last["score"])
	}
	if status, _ := s.historyTool(t, "training-set", "--from-log", "ranker"); status != 1 {
		t.Errorf("a name of two things: exit status %d", status)
	}
}

// TestServedIsVerifiedOnASchedule: serve compares what was served by itself, and counts it.
func TestServedIsVerifiedOnASchedule(t *testing.T) {
	s, _ := rankStackOf(t, servedDefinitions)
	admin := freeAddress(t)
	t.Setenv("ONEHOP_VERIFY_EVERY", "2s")
	s.waitReady(t, s.run(t, "serve", "127.0.0.1:0", admin), "http://"+admin)
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", visit(1, "de|x", "y", 4, time.Now()))...)
	eventually(t, 30*time.Second, "values are compared", func() error {
		if _, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), rankRequest()); err != nil {
			return err
		}
		if n, _ := scrape(t, "http://"+admin, "onehop_verify_served_points_total"); n == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	if n, _ := scrape(t, "http://"+admin, "onehop_verify_served_different_total"); n != 0 {
		t.Errorf("serve says that %v values differ", n)
	}
}
