package rpc

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/switches"
	"github.com/onehop/onehop/internal/shadow"
	"github.com/onehop/onehop/internal/telemetry"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

const shopDefinitions = `
namespace: shop
entities: [{name: user, keys: [{name: user_id, type: int64}]}, {name: item, keys: [{name: item_id, type: int64}]}]
sources:
  - name: s
    format: json
    event_time: {field: at, unit: us}
    fields: [{name: user_id, type: int64, required: true}, {name: item_id, type: int64, required: true}, {name: price, type: float64}]
views:
  - {name: u, entity: user, source: s, features: [{name: n, aggregate: count, windows: [lifetime]}]}
  - {name: i, entity: item, source: s, features: [{name: n, aggregate: count, windows: [lifetime]}, {name: price, aggregate: latest, field: price}, {name: prices, aggregate: last_n, n: 3, field: price}]}
services: [{name: all, features: [u.*, i.*]}]
models: [{name: ranker, service: all, candidates: item, request: [{name: hour, type: float64}]}]
`

// The network reads the columns of shopSpec, or without the user those of userless.
const (
	shopSpec = `model: ranker
inputs: [{tensor: features, columns: [{from: u.n_lifetime, default: 0}, {from: i.n_lifetime, default: 0}, {from: i.price, default: 1}, {from: request.hour, default: 12}]}]
output: scores
`
	userless = `model: ranker
inputs: [{tensor: features, columns: [{from: i.n_lifetime, default: 0}, {from: i.price, default: 1}, {from: request.hour, default: 12}]}]
output: scores
`
)

// shop is infer's handler over HTTP, with models that the test ships, ten items and ten users.
type shop struct {
	t       testing.TB
	dir     string
	service *Inference
	client  onehopv1connect.InferenceServiceClient
	metrics *prometheus.Registry
	url     string
	http    *http.Client
}

func newShop(t *testing.T) *shop {
	t.Helper()
	return newShopOver(t, openOnline(t), shopDefinitions)
}

func newShopOver(t *testing.T, store *online.Store, definitions string) *shop {
	t.Helper()
	s := &shop{t: t, dir: t.TempDir(), metrics: prometheus.NewRegistry()}
	repo, err := repository.Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	models := inference.NewSet(onnxtest.Open(t), repo, log)
	t.Cleanup(func() {
		if err := models.Close(); err != nil {
			t.Error(err)
		}
	})
	s.service = &Inference{
		Models: models, Store: store, Now: time.Now, Answers: NewAnswers(s.metrics), Shadow: shadow.Start(t.Context(), s.metrics, log),
	}
	t.Cleanup(s.service.Shadow.Close)
	models.Warm = func(h *inference.Hop) error { return s.service.Warm(t.Context(), h) }
	s.ship(1, shopSpec, 4)
	catalog, err := definition.Parse([]definition.File{{Name: "d.yaml", Text: []byte(definitions)}})
	if err != nil {
		t.Fatal(err)
	}
	s.sell(catalog)
	programs, err := plan.Programs(catalog)
	if err != nil {
		t.Fatal(err)
	}
	models.Define(catalog, programs)
	s.look()
	options, err := Options(&telemetry.Telemetry{Log: log, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	_, handler := onehopv1connect.NewInferenceServiceHandler(s.service, options...)
	server := httptest.NewServer(handler)
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	s.url, s.http = server.URL, &http.Client{Transport: transport}
	s.client = onehopv1connect.NewInferenceServiceClient(s.http, s.url)
	return s
}

// sell folds an event for each of ten users and items.
func (s *shop) sell(catalog *featurestore.Catalog) {
	s.t.Helper()
	var views []*ingest.View
	for i := range catalog.Views {
		view, err := ingest.NewView(catalog, &catalog.Views[i])
		if err != nil {
			s.t.Fatal(err)
		}
		views = append(views, view)
	}
	partition := ingest.NewPartition(s.service.Store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows(views, 1<<16))
	batch := ingest.Batch{To: 10}
	for i := range batch.To {
		batch.Events = append(batch.Events, featurestore.Event{
			Position: featurestore.Position{Time: time.Now().UnixMicro() - 1e6, Offset: i},
			Values:   []featurestore.Value{featurestore.IntValue(i), featurestore.IntValue(i), featurestore.FloatValue(float64(i) / 10)},
		})
	}
	_, err := partition.Open(s.t.Context(), map[int32]ingest.Offsets{0: {End: batch.To}})
	if err := errors.Join(err, partition.Process(s.t.Context(), batch), partition.Heartbeat(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) put(name string, text []byte) {
	s.t.Helper()
	path := filepath.Join(s.dir, "ranker", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path+".new", text, 0o600), os.Rename(path+".new", path)); err != nil {
		s.t.Fatal(err)
	}
}

// ship puts a version into the repository; its network follows from its number.
func (s *shop) ship(version int, spec string, columns int) {
	s.t.Helper()
	s.put(strconv.Itoa(version)+"/model.onnx", onnxtest.MLP([]int{columns, 8, 1}, uint64(version)))
	s.put(strconv.Itoa(version)+"/model.yaml", []byte(spec))
}

func (s *shop) look() {
	s.t.Helper()
	if err := s.service.Models.Refresh(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func ask(user int64) *onehopv1.GetFeaturesAndPredictRequest {
	return &onehopv1.GetFeaturesAndPredictRequest{
		Model: "ranker", Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{user}}},
		Candidates: map[string]*onehopv1.Values{"item_id": {Int64: []int64{1, 2, 3, 4, 5, 6, 7, 8, 9}}},
		Request:    map[string]*onehopv1.Values{"hour": {Double: []float64{0.5}}},
	}
}

func (s *shop) ask(req *onehopv1.GetFeaturesAndPredictRequest) *onehopv1.GetFeaturesAndPredictResponse {
	s.t.Helper()
	res, err := s.client.GetFeaturesAndPredict(s.t.Context(), req)
	if err != nil {
		s.t.Fatal(err)
	}
	return res
}

// TestVersionsAnswer: an answer says which version gave it, and as what; its scores are that version's, also where the version reads
// no user and the caller brings one.
func TestVersionsAnswer(t *testing.T) {
	s := newShop(t)
	s.ship(2, userless, 3)
	s.put("serving.yaml", []byte("default: 1\naliases: {next: 2}\ntraffic: {ab: {by: user, variants: [{name: a, version: 1, percent: 50}, {name: b, version: next, percent: 50}]}}"))
	s.look()
	seen := map[string]int64{}
	for user := range int64(20) {
		res, again := s.ask(ask(user)), s.ask(ask(user))
		if res.GetVariant() != again.GetVariant() {
			t.Errorf("user %d moved from %s to %s", user, res.GetVariant(), again.GetVariant())
		}
		seen[res.GetVariant()] = res.GetModelVersion()
	}
	if len(seen) != 2 || seen["a"] != 1 || seen["b"] != 2 {
		t.Errorf("variants are of versions %v", seen)
	}
	pinned := ask(3)
	pinned.Alias = "next"
	res := s.ask(pinned)
	if res.GetVariant() != "pinned" || res.GetModelVersion() != 2 {
		t.Errorf("version %d, %s", res.GetModelVersion(), res.GetVariant())
	}
	for i, at := range res.GetIndexes() {
		item := float32(at) + 1
		want := onnxtest.EvaluateMLP([]int{3, 8, 1}, 2, []float32{1, item / 10, 0.5})[0]
		if math.Abs(want-float64(res.GetScores()[i])) > 1e-5 {
			t.Errorf("item %v scores %v, want %v", item, res.GetScores()[i], want)
		}
	}
	inline, err := s.client.Predict(t.Context(), &onehopv1.PredictRequest{Model: "ranker", Alias: "next", Columns: map[string]*onehopv1.Values{"i.price": {Double: []float64{1}}}})
	if err != nil || inline.GetModelVersion() != 2 {
		t.Errorf("%v, %v", inline, err)
	}
	nobody := ask(3)
	delete(nobody.Entities, "user_id")
	if _, err := s.client.GetFeaturesAndPredict(t.Context(), nobody); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), `join key "user_id" is missing`) {
		t.Errorf("a request that cannot be split: %v", err)
	}
	unwanted := ask(3)
	unwanted.Entities["mood"] = &onehopv1.Values{Int64: []int64{1}}
	if _, err := s.client.GetFeaturesAndPredict(t.Context(), unwanted); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("an entity of no version: %v", err)
	}
	list, err := s.client.ListModels(t.Context(), &onehopv1.ListModelsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r := list.GetRoutes()[0]; !r.GetFile() || r.GetProblem() != "" || r.GetTraffic().GetSplit().GetAb().GetVariants()[1].GetVersion() != "next" {
		t.Errorf("%v", r)
	}
	if got := testutil.ToFloat64(s.service.Answers.total.WithLabelValues("ranker", "2", "pinned", "ok")); got != 1 {
		t.Errorf("%v pinned answers are counted, want 1", got)
	}
}

// TestShadowAnswersUnseen: callers get the default version's scores, and what the shadow would have said is compared with them.
func TestShadowAnswersUnseen(t *testing.T) {
	s := newShop(t)
	s.ship(2, userless, 3)
	s.ship(3, shopSpec, 4)
	s.put("3/model.onnx", onnxtest.MLP([]int{4, 8, 1}, 1)) // the network of version 1
	s.put("serving.yaml", []byte("default: 1\nshadow: {version: 3, percent: 100}"))
	s.look()
	for range 5 {
		if res := s.ask(ask(1)); res.GetModelVersion() != 1 || res.GetVariant() != "default" {
			t.Errorf("version %d, %s", res.GetModelVersion(), res.GetVariant())
		}
	}
	s.put("serving.yaml", []byte("default: 1\nshadow: {version: 2, percent: 100}"))
	s.look()
	for range 4 {
		s.ask(ask(1))
	}
	s.waitFor("onehop_shadow_requests_total", 9)
	got := s.gather()
	if got["onehop_shadow_requests_total ranker compared 3"] != 5 || got["onehop_shadow_requests_total ranker compared 2"] != 4 {
		t.Errorf("%v", got)
	}
	if got["onehop_shadow_score_difference ranker 3"] != 0 || got["onehop_shadow_score_difference ranker 2"] <= 0 ||
		got["onehop_shadow_rank_correlation ranker 3"] != 5 || got["onehop_shadow_same_best_total ranker 3"] != 5 {
		t.Errorf("version 3 is version 1, and version 2 is not: %v", got)
	}
}

// gather is the metrics of the shadow by name and labels: counters, and the sums of histograms.
func (s *shop) gather() map[string]float64 {
	s.t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := []string{family.GetName()}
			for _, label := range m.GetLabel() {
				name = append(name, label.GetValue())
			}
			all[strings.Join(name, " ")] = m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	return all
}

// waitFor waits until the counters of a name have a sum.
func (s *shop) waitFor(name string, sum float64) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		total := 0.0
		for key, value := range s.gather() {
			if strings.HasPrefix(key, name+" ") {
				total += value
			}
		}
		if total >= sum {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s is %v, want %v", name, total, sum)
		}
	}
}

// TestSwitchModel switches by RPC, with real Postgres: taken when it answers, refused with the reason, rolled back at once, given back to
// the file, and recorded.
func TestSwitchModel(t *testing.T) {
	s := newShop(t)
	s.ship(2, userless, 3)
	s.put("serving.yaml", []byte("default: 1"))
	s.look()
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := migrations.Up(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	store := switches.New(pool, testenv.Namespace(t))
	follower, err := switches.Follow(t.Context(), store, s.service.Models, "test", "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.service.Switches = Switches{Store: store, Follower: follower}
	change := func(action onehopv1.SwitchAction, traffic *onehopv1.Traffic) (*onehopv1.SwitchModelResponse, error) {
		return s.client.SwitchModel(t.Context(), &onehopv1.SwitchModelRequest{Model: "ranker", Action: action, Traffic: traffic, Who: "ada", Reason: "try"})
	}
	const set, rollback, fromFile = onehopv1.SwitchAction_SWITCH_ACTION_SET, onehopv1.SwitchAction_SWITCH_ACTION_ROLLBACK, onehopv1.SwitchAction_SWITCH_ACTION_FROM_FILE
	if _, err := change(rollback, nil); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a rollback of nothing: %v", err)
	}
	if got := s.ask(ask(1)).GetModelVersion(); got != 1 {
		t.Fatalf("version %d", got)
	}
	for says, traffic := range map[string]*onehopv1.Traffic{
		`model "ranker" has no version 7`:  {DefaultVersion: "7"},
		"101 is no share":                  {Shadow: &onehopv1.Share{Version: "2", Percent: 101}},
		"alias next":                       {Aliases: map[string]int64{"next": 7}},
		`there is no alias "next" to take`: {Aliases: map[string]int64{"next": 0}},
		"say what to switch":               {},
		"invalid_argument: traffic: want a canary or an A/B test, not both": {Split: &onehopv1.Split{Canary: &onehopv1.Share{Version: "2", Percent: 1}, Ab: &onehopv1.ABTest{By: "user"}}},
	} {
		if _, err := change(set, traffic); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v, want %s", traffic, err, says)
		}
	}
	made, err := change(set, &onehopv1.Traffic{Split: &onehopv1.Split{Canary: &onehopv1.Share{Version: "2", Percent: 100}}})
	if err != nil || made.GetRoute().GetSwitchId() != made.GetSwitchId() || made.GetRoute().GetTraffic().GetDefaultVersion() != "1" {
		t.Fatalf("%v, %v", made, err)
	}
	if res := s.ask(ask(1)); res.GetModelVersion() != 2 || res.GetVariant() != "canary" {
		t.Errorf("version %d, %s", res.GetModelVersion(), res.GetVariant())
	}
	if _, err := change(rollback, nil); err != nil {
		t.Fatal(err)
	}
	if got := s.ask(ask(1)).GetModelVersion(); got != 1 {
		t.Errorf("after the rollback version %d answers", got)
	}
	if _, err := change(set, &onehopv1.Traffic{DefaultVersion: "2"}); err != nil {
		t.Fatal(err)
	}
	// The version goes away: what is switched cannot be followed, and the record says so.
	if err := os.RemoveAll(filepath.Join(s.dir, "ranker", "2")); err != nil {
		t.Fatal(err)
	}
	s.look()
	if err := follower.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := change(fromFile, nil); err != nil {
		t.Fatal(err)
	}
	if got := s.ask(ask(1)).GetModelVersion(); got != 1 {
		t.Errorf("by the file version %d answers", got)
	}
	history, err := store.History(t.Context(), "ranker", 10)
	if err != nil || len(history) != 4 {
		t.Fatalf("%d switches, %v", len(history), err)
	}
	gone := history[1].Outcomes
	if len(gone) != 2 || gone[0].Problem != "" || !strings.Contains(gone[1].Problem, "has no version 2") || gone[0].Instance != "test" {
		t.Errorf("%+v", gone)
	}
	if first := history[3]; first.Who != "ada" || first.Reason != "try" || len(first.Outcomes) != 1 || first.Outcomes[0].Problem != "" {
		t.Errorf("%+v", first)
	}
}

// TestWarmRunsRecentRequests: a version is tried on requests that were answered lately, of which a few are kept, and fails its trial when
// it cannot be run on them; that of a request that it cannot read is no failure.
func TestWarmRunsRecentRequests(t *testing.T) {
	s := newShop(t)
	hop, err := s.service.Models.Find("ranker", 1)
	if err != nil {
		t.Fatal(err)
	}
	hop.Release()
	s.ship(1, shopSpec, 4)
	s.put("1/model.onnx", onnxtest.MLP([]int{4, 8, 1}, 9))
	s.look()
	s.look() // which closes the model of before, nobody having it
	if err := s.service.Warm(t.Context(), hop); err != nil {
		t.Errorf("without recent requests: %v", err)
	}
	clock := time.Now()
	s.service.Now = func() time.Time { return clock }
	for i := range 20 {
		s.ask(ask(int64(i)))
		s.ask(ask(100)) // within the same second
		clock = clock.Add(keepEvery)
	}
	kept := s.service.recent.of("ranker")
	if len(kept) != keptRequests {
		t.Errorf("%d requests are kept, want %d", len(kept), keptRequests)
	}
	for _, req := range kept {
		if user := req.GetEntities()["user_id"].GetInt64()[0]; user < 20-keptRequests || user > 19 {
			t.Errorf("a request of user %d is kept", user)
		}
	}
	if err := s.service.Warm(t.Context(), hop); err == nil || !strings.Contains(err.Error(), "model ranker version 1") {
		t.Errorf("a model that cannot be run: %v", err)
	}
	now, err := s.service.Models.Find("ranker", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Release()
	if err := s.service.Warm(t.Context(), now); err != nil {
		t.Error(err)
	}
	for _, req := range kept {
		delete(req.Entities, "user_id")
	}
	if err := s.service.Warm(t.Context(), now); err != nil {
		t.Errorf("requests that lack what the version reads: %v", err)
	}
}
