package rpc

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/internal/shadow"
	"github.com/onehop/onehop/internal/telemetry"
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
		Recent: newRecent(t),
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
	server := httptest.NewServer(newBound(handler, maxRequests, prometheus.NewRegistry()))
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
