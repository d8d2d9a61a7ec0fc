package e2e

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

const rankDefinitions = `
namespace: e2e
entities:
  - name: user
    keys: [{name: user_id, type: int64}]
  - name: place
    keys: [{name: country, type: string}, {name: city, type: string}]
sources:
  - name: ratings
    format: json
    event_time: {field: event_time, unit: ms}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: country, type: string, required: true}
      - {name: city, type: string, required: true}
      - {name: rating, type: float64}
      - {name: note, type: string}
views:
  - name: user_ratings
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h]}
      - {name: mean, aggregate: mean, field: rating, windows: [1h]}
      - {name: last_notes, aggregate: last_n, field: note, n: 3}
  - name: place_ratings
    entity: place
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h]}
      - {name: last, aggregate: latest, field: rating}
on_demand:
  - name: match
    request: [{name: hour, type: float64}]
    features:
      - {name: gap, expression: user_ratings.mean_1h - place_ratings.last}
      - {name: late, expression: request.hour > 10.0 && place_ratings.count_1h > 1}
services:
  - name: ranker
    features: [user_ratings.count_1h, user_ratings.mean_1h, place_ratings.*, match.*]
models:
  - name: ranker
    service: ranker
    candidates: place
    request: [{name: hour, type: float64}]
`

const rankSpec = `
model: ranker
inputs:
  - tensor: features
    columns:
      - {from: user_ratings.count_1h, default: 0}
      - {from: user_ratings.mean_1h, default: 3}
      - {from: place_ratings.count_1h, default: 0}
      - {from: place_ratings.last, default: 2.5}
      - request.hour
      - {from: match.gap, default: -9}
      - {from: match.late, default: 0}
output: scores
`

var rankWidths = []int{7, 8, 1}

// writeModel puts a version of the ranker into a repository.
func writeModel(t *testing.T, models string, version int, artifact []byte, spec string) {
	t.Helper()
	dir := filepath.Join(models, "ranker", strconv.Itoa(version))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"model.onnx": artifact, "model.yaml": []byte(spec)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func rankStack(t *testing.T) *stack {
	t.Helper()
	s, _ := rankStackOf(t, rankDefinitions)
	return s
}

// rankStackOf starts the services with definitions of the ranker, and returns ingest too.
func rankStackOf(t *testing.T, definitions string) (s *stack, ingest *process) {
	t.Helper()
	onnxtest.Open(t) // fetches the library, or skips with the reason
	s = newStack(t)
	s.models = t.TempDir()
	writeModel(t, s.models, 1, onnxtest.MLP(rankWidths, 1), rankSpec)
	return s, s.start(t, definitions)
}

func visit(user int, country, city string, rating float64, at time.Time) string {
	return fmt.Sprintf(`{"user_id":%d,"country":%q,"city":%q,"rating":%g,"note":"é%d","event_time":%d}`, user, country, city, rating, user, at.UnixMilli())
}

func rankRequest() *onehopv1.GetFeaturesAndPredictRequest {
	return &onehopv1.GetFeaturesAndPredictRequest{
		Model:      "ranker",
		Entities:   map[string]*onehopv1.Values{"user_id": {Int64: []int64{1}}},
		Candidates: map[string]*onehopv1.Values{"country": {String_: []string{"de|x", "de", "fr"}}, "city": {String_: []string{"y", "x|y", "paris"}}},
		Request:    map[string]*onehopv1.Values{"hour": {Double: []float64{12}}},
	}
}

// TestScoresAreTheModelsOnTheFeatures compares scores with the network computed by hand
// on features computed by hand, composite keys with separators in them included.
func TestScoresAreTheModelsOnTheFeatures(t *testing.T) {
	s := rankStack(t)
	now := time.Now().Add(-2 * time.Second)
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings",
		visit(1, "de|x", "y", 4, now), visit(1, "de|x", "y", 5, now.Add(time.Second)), visit(2, "de", "x|y", 1, now))...)
	req := rankRequest()
	req.ReturnFeatures = true
	res, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[uint32][]float32{0: {2, 4.5, 2, 5, 12, -0.5, 1}, 1: {2, 4.5, 1, 1, 12, 3.5, 0}, 2: {2, 4.5, 0, 2.5, 12, -9, 0}}
	for i, at := range res.GetIndexes() {
		want := onnxtest.EvaluateMLP(rankWidths, 1, rows[at])[0]
		if math.Abs(want-float64(res.GetScores()[i])) > 1e-5 {
			t.Errorf("candidate %d scores %v, want %v", at, res.GetScores()[i], want)
		}
		if i > 0 && res.GetScores()[i] > res.GetScores()[i-1] {
			t.Error("scores are not in order")
		}
		if city := res.GetCandidates()["city"].GetString_()[i]; city != req.GetCandidates()["city"].GetString_()[at] {
			t.Errorf("candidate %d came back as %q", at, city)
		}
		last := res.GetFeatures()[3]
		if status := last.GetStatuses()[i]; (status == onehopv1.Status_STATUS_NOT_FOUND) != (at == 2) {
			t.Errorf("candidate %d: %s is %s", at, last.GetName(), status)
		}
		gap := res.GetFeatures()[5]
		if status := gap.GetStatuses()[i]; (status == onehopv1.Status_STATUS_NULL) != (at == 2) || at != 2 && float32(gap.GetValues().GetDouble()[i]) != rows[at][5] {
			t.Errorf("candidate %d: %s is %s, %v", at, gap.GetName(), status, gap.GetValues())
		}
	}
	if res.GetModelVersion() != 1 || res.GetFreshnessUs() <= 0 || res.GetStatusCounts()["NOT_FOUND"] != 2 || res.GetStatusCounts()["NULL"] != 2 || res.GetStatusCounts()["DEFAULTED"] != 4 {
		t.Errorf("version %d, freshness %d, statuses %v", res.GetModelVersion(), res.GetFreshnessUs(), res.GetStatusCounts())
	}
	req.TopK = 1
	top, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), req)
	if err != nil || len(top.GetScores()) != 1 || top.GetIndexes()[0] != res.GetIndexes()[0] {
		t.Errorf("top 1: %v, %v", top, err)
	}
	inline, err := s.onehop.Inference().Predict(t.Context(), &onehopv1.PredictRequest{Model: "ranker", Columns: map[string]*onehopv1.Values{
		"user_ratings.count_1h": {Int64: []int64{2}}, "user_ratings.mean_1h": {Double: []float64{4.5}}, "request.hour": {Double: []float64{12}},
		"place_ratings.count_1h": {Int64: []int64{2, 1}}, "place_ratings.last": {Double: []float64{5, 1}},
		"match.gap": {Double: []float64{-0.5, 3.5}}, "match.late": {Bool: []bool{true, false}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range inline.GetScores() {
		if want := onnxtest.EvaluateMLP(rankWidths, 1, rows[uint32(i)])[0]; math.Abs(want-float64(got)) > 1e-5 {
			t.Errorf("inline row %d scores %v, want %v", i, got, want)
		}
	}
}

// TestNewAndBadModelVersions adds versions under a running service: good ones are
// served, bad ones are listed with the reason and hide nothing.
func TestNewAndBadModelVersions(t *testing.T) {
	s := rankStack(t)
	writeModel(t, s.models, 2, onnxtest.MLP(rankWidths, 2), rankSpec)
	writeModel(t, s.models, 3, []byte("this is no model"), rankSpec)
	writeModel(t, s.models, 4, onnxtest.MLP([]int{6, 1}, 2), rankSpec)
	writeModel(t, s.models, 5, onnxtest.MLP(rankWidths, 2), strings.ReplaceAll(rankSpec, "user_ratings.mean_1h", "user_ratings.nonsense"))
	var list *onehopv1.ListModelsResponse
	eventually(t, 15*time.Second, "five versions are listed", func() (err error) {
		list, err = s.onehop.Inference().ListModels(t.Context(), &onehopv1.ListModelsRequest{})
		if err == nil && len(list.GetModels()) != 5 {
			err = fmt.Errorf("%d versions", len(list.GetModels()))
		}
		return err
	})
	for i, want := range []string{"", "", "model", "columns that are listed", "nonsense"} {
		m := list.GetModels()[i]
		if (want == "") != (m.GetProblem() == "") || !strings.Contains(m.GetProblem(), want) || m.GetDefault() != (i == 1) {
			t.Errorf("version %d: default %v, problem %q, want one with %q", m.GetVersion(), m.GetDefault(), m.GetProblem(), want)
		}
	}
	res, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), rankRequest())
	if err != nil || res.GetModelVersion() != 2 {
		t.Errorf("the default version is %d, %v", res.GetModelVersion(), err)
	}
}

// TestBadEventsGoToTheDeadLetterTopic mixes bad records with good ones.
func TestBadEventsGoToTheDeadLetterTopic(t *testing.T) {
	s := newStack(t)
	s.start(t, rankDefinitions)
	now := time.Now()
	good := visit(1, "de", "x", 4, now)
	bad := map[string]string{
		`{"user_id":1`:                                        "not valid JSON",
		strings.Replace(good, `:1,`, `:"1",`, 1):              `field "user_id"`,
		strings.Replace(good, `"de"`, `null`, 1):              `"country"`,
		strings.Replace(good, `"x"`, `""`, 1):                 `"city"`,
		visit(1, "de", "x", 4, now.Add(-time.Hour*24*30)):     "before the record",
		visit(1, "de", "x", 4, time.Unix(now.UnixMilli(), 0)): "after the record",
		strings.Replace(good, strconv.FormatInt(now.UnixMilli(), 10), strconv.FormatInt(now.Unix(), 10), 1): "before the record",
		`{"user_id":1,"country":"` + strings.Repeat("k", 2000) + `"}`:                                       "part of an entity's key",
	}
	var events []any
	for record := range bad {
		events = append(events, good, record)
	}
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", events...)...)
	res, err := s.onehop.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{"user_ratings.count_1h", "user_ratings.last_notes"}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{1}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := res.GetColumns()[0].GetValues().GetInt64()[0]; got != int64(len(bad)) {
		t.Errorf("%d good events were folded, want %d", got, len(bad))
	}
	if notes := res.GetColumns()[1].GetValues(); len(notes.GetString_()) != 3 || notes.GetListLengths()[0] != 3 {
		t.Errorf("last notes: %v", notes)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...), kgo.ConsumeTopics(s.namespace+".ratings.dead"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for letters := 0; letters < len(bad); {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d dead letters: %v", letters, len(bad), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			letters++
			headers := map[string]string{}
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			if want := bad[string(r.Value)]; want == "" || !strings.Contains(headers["onehop-reason"], want) || headers["onehop-topic"] != s.namespace+".ratings" || headers["onehop-offset"] == "" {
				t.Errorf("letter %.80s: headers %v, want a reason with %q", r.Value, headers, want)
			}
		})
	}
}

// TestDefinitionsChangeUnderRequests adds a feature while requests run: none fails, and
// the new feature comes into service with its whole past.
func TestDefinitionsChangeUnderRequests(t *testing.T) {
	s := newStack(t)
	s.start(t, countDefinitions)
	s.onehop.Produce(t, "ratings", ratings(0, 2000)...)
	s.expectTotals(t, 2000)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				if count, _, err := s.totals(context.WithoutCancel(ctx)); err != nil || count < 2000 {
					t.Errorf("a request during the change: %d events, %v", count, err)
					return
				}
			}
		})
	}
	s.onehop.ApplyText(t, countDefinitions+"      - {name: max, aggregate: max, field: rating, windows: [lifetime]}\n")
	eventually(t, 30*time.Second, "the new feature is served", func() error {
		res, err := s.onehop.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
			Features: []string{"user_ratings.max_lifetime"}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{49}}},
		})
		if err == nil && res.GetColumns()[0].GetValues().GetInt64()[0] != 1999 {
			t.Fatalf("the new feature was served before it was whole: %v", res)
		}
		return err
	})
	stop()
	running.Wait()
	s.onehop.Produce(t, "ratings", ratings(2000, 3000)...)
	s.expectTotals(t, 3000)
	s.expectHistory(t, 3000)
}

// TestRequestsThatAreRefused sends what is wrong and looks at the code and the message.
func TestRequestsThatAreRefused(t *testing.T) {
	s := rankStack(t)
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", visit(1, "de", "x", 4, time.Now()))...)
	many := make([]int64, 10_001)
	online := func(change func(*onehopv1.GetOnlineFeaturesRequest)) error {
		req := &onehopv1.GetOnlineFeaturesRequest{FeatureService: "ranker", Entities: map[string]*onehopv1.Values{
			"user_id": {Int64: []int64{1, 2}}, "country": {String_: []string{"de"}}, "city": {String_: []string{"x"}},
		}, Request: map[string]*onehopv1.Values{"hour": {Double: []float64{12}}}}
		change(req)
		_, err := s.onehop.Features().GetOnlineFeatures(t.Context(), req)
		return err
	}
	rank := func(change func(*onehopv1.GetFeaturesAndPredictRequest)) error {
		req := rankRequest()
		change(req)
		_, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), req)
		return err
	}
	push := func(source string, events ...string) error {
		_, err := s.onehop.Features().PushEvents(t.Context(), &onehopv1.PushEventsRequest{Source: source, Events: events})
		return err
	}
	type online1 = onehopv1.GetOnlineFeaturesRequest
	type rank1 = onehopv1.GetFeaturesAndPredictRequest
	for name, c := range map[string]struct {
		err  error
		code connect.Code
		want string
	}{
		"fine":              {online(func(*online1) {}), 0, ""},
		"rank fine":         {rank(func(*rank1) {}), 0, ""},
		"nothing asked":     {online(func(r *online1) { r.FeatureService = "" }), connect.CodeInvalidArgument, "either feature_service or features"},
		"no entities":       {online(func(r *online1) { r.Entities = nil }), connect.CodeInvalidArgument, "entities"},
		"unknown service":   {online(func(r *online1) { r.FeatureService = "x" }), connect.CodeNotFound, `"x"`},
		"unknown view":      {online(func(r *online1) { r.FeatureService, r.Features = "", []string{"x.y"} }), connect.CodeNotFound, `"x"`},
		"unknown feature":   {online(func(r *online1) { r.FeatureService, r.Features = "", []string{"user_ratings.y"} }), connect.CodeNotFound, `"y"`},
		"no dot":            {online(func(r *online1) { r.FeatureService, r.Features = "", []string{"xyz"} }), connect.CodeInvalidArgument, "view.feature"},
		"key missing":       {online(func(r *online1) { delete(r.Entities, "city") }), connect.CodeInvalidArgument, `"city" is missing`},
		"key of wrong type": {online(func(r *online1) { r.Entities["user_id"] = &onehopv1.Values{String_: []string{"1"}} }), connect.CodeInvalidArgument, "int64 only"},
		"two types":         {online(func(r *online1) { r.Entities["user_id"].Double = []float64{1} }), connect.CodeInvalidArgument, "int64 only"},
		"empty key":         {online(func(r *online1) { r.Entities["city"] = &onehopv1.Values{String_: []string{""}} }), connect.CodeInvalidArgument, `"city" is empty`},
		"long key":          {online(func(r *online1) { r.Entities["city"] = &onehopv1.Values{String_: []string{strings.Repeat("x", 1025)}} }), connect.CodeInvalidArgument, "1024"},
		"any byte in a key": {online(func(r *online1) { r.Entities["city"] = &onehopv1.Values{String_: []string{"\x00{}\r\n|\\"}} }), 0, ""},
		"unwanted key":      {online(func(r *online1) { r.Entities["shoe"] = r.Entities["city"] }), connect.CodeInvalidArgument, `"shoe"`},
		"too many rows":     {online(func(r *online1) { r.Entities["user_id"].Int64 = many }), connect.CodeInvalidArgument, "10000"},
		"ten thousand":      {online(func(r *online1) { r.Entities["user_id"].Int64 = many[1:] }), 0, ""},
		"hour missing":      {online(func(r *online1) { r.Request = nil }), connect.CodeInvalidArgument, `"match.late" is computed from it`},
		"unequal lengths":   {online(func(r *online1) { r.Entities["city"].String_ = []string{"x", "y", "z"} }), connect.CodeInvalidArgument, "rows"},
		"unknown model":     {rank(func(r *rank1) { r.Model = "x" }), connect.CodeNotFound, `"x"`},
		"unknown version":   {rank(func(r *rank1) { r.Version = 9 }), connect.CodeNotFound, "version 9"},
		"no candidates":     {rank(func(r *rank1) { r.Candidates = nil }), connect.CodeInvalidArgument, "candidates"},
		"two users":         {rank(func(r *rank1) { r.Entities["user_id"].Int64 = []int64{1, 2} }), connect.CodeInvalidArgument, "has one"},
		"field missing":     {rank(func(r *rank1) { r.Request = nil }), connect.CodeInvalidArgument, `"hour"`},
		"field not finite":  {rank(func(r *rank1) { r.Request["hour"].Double = []float64{math.NaN()} }), connect.CodeInvalidArgument, "not finite"},
		"field of two":      {rank(func(r *rank1) { r.Request["hour"].Double = []float64{1, 2} }), connect.CodeInvalidArgument, "each of the 3"},
		"unwanted field":    {rank(func(r *rank1) { r.Request["mood"] = r.Request["hour"] }), connect.CodeInvalidArgument, `"mood"`},
		"push fine":         {push("ratings", visit(9, "de", "x", 1, time.Now())), 0, ""},
		"push unknown":      {push("x", "{}"), connect.CodeNotFound, `"x"`},
		"push nothing":      {push("ratings"), connect.CodeInvalidArgument, "events"},
		"push bad":          {push("ratings", visit(9, "de", "x", 1, time.Now()), "{}"), connect.CodeInvalidArgument, "events[1]"},
	} {
		if c.code == 0 {
			if c.err != nil {
				t.Errorf("%s: %v", name, c.err)
			}
			continue
		}
		if connect.CodeOf(c.err) != c.code || !strings.Contains(fmt.Sprint(c.err), c.want) {
			t.Errorf("%s: %v, want %s with %s", name, c.err, c.code, c.want)
		}
	}
}

// TestOperatorsFindWhatTheyExpect looks at health, reflection, metrics, and at plain
// HTTP as a person with curl uses it.
func TestOperatorsFindWhatTheyExpect(t *testing.T) {
	s := newStack(t)
	ingest := s.start(t, countDefinitions)
	s.onehop.Produce(t, "ratings", ratings(0, 100)...)
	s.expectTotals(t, 100)
	var body string
	query := "?connect=v1&encoding=json&message=" + url.QueryEscape(`{"features":["user_ratings.count_lifetime"],"entities":{"user_id":{"int64":[3]}}}`)
	if err := get(t, s.features+"/onehop.v1.FeatureService/GetOnlineFeatures"+query, &body); err != nil || !strings.Contains(body, `"int64":["2"]`) {
		t.Errorf("GET as a person would: %v\n%s", err, body)
	}
	admin := ""
	for _, line := range strings.Split(ingest.log.String(), "\n") {
		if _, after, ok := strings.Cut(line, "admin="); ok {
			admin = "http://" + strings.Fields(after)[0]
		}
	}
	if err := get(t, admin+"/metrics", &body); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"onehop_ingest_records_total", "onehop_ingest_lag_records", "onehop_ingest_freshness_seconds", "onehop_ingest_batch_records", "onehop_ingest_view_newest_event_seconds", "onehop_redis_seconds", "onehop_postgres_seconds"} {
		if !strings.Contains(body, name) {
			t.Errorf("/metrics of ingest has no %s", name)
		}
	}
	if err := get(t, admin+"/debug/pprof/cmdline", nil); err != nil {
		t.Errorf("pprof: %v", err)
	}
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	defer h2.CloseIdleConnections()
	client := onehopv1connect.NewFeatureServiceClient(&http.Client{Transport: h2}, s.features, connect.WithGRPC())
	if views, err := client.ListFeatureViews(t.Context(), &onehopv1.ListFeatureViewsRequest{}); err != nil || len(views.GetViews()) != 1 {
		t.Errorf("gRPC over cleartext HTTP/2: %v, %v", views, err)
	}
	if view, err := client.GetFeatureView(t.Context(), &onehopv1.GetFeatureViewRequest{Name: "user_ratings"}); err != nil || len(view.GetView().GetFeatures()) != 3 {
		t.Errorf("GetFeatureView: %v, %v", view, err)
	}
}
