package rpc

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// newCachedShop is a shop whose version 2 is the default and has caches, and whose version 1 has none.
func newCachedShop(t *testing.T, cache string) *shop {
	t.Helper()
	s := newShop(t)
	s.ship(2, shopSpec+"cache: "+cache+"\n", 4)
	s.look()
	return s
}

// buy folds one more event: a price of an item.
func (s *shop) buy(item int64, price float64) {
	s.t.Helper()
	var views []*ingest.View
	hop, err := s.service.Models.Find("ranker", 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer hop.Release()
	catalog := hop.Plan.Catalog
	for i := range catalog.Views {
		view, err := ingest.NewView(catalog, &catalog.Views[i])
		if err != nil {
			s.t.Fatal(err)
		}
		views = append(views, view)
	}
	partition := ingest.NewPartition(s.service.Store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows(views, 1<<16))
	batch := ingest.Batch{From: 10, To: 11, Events: []featurestore.Event{{
		Position: featurestore.Position{Time: time.Now().UnixMicro() - 5e5, Offset: 10},
		Values:   []featurestore.Value{featurestore.IntValue(99), featurestore.IntValue(item), featurestore.FloatValue(price)},
	}}}
	_, err = partition.Open(s.t.Context(), map[int32]ingest.Offsets{0: {End: 11}})
	if err := errors.Join(err, partition.Process(s.t.Context(), batch)); err != nil {
		s.t.Fatal(err)
	}
}

func sameAnswer(a, b *onehopv1.GetFeaturesAndPredictResponse) bool {
	return slices.Equal(a.GetScores(), b.GetScores()) && slices.Equal(a.GetIndexes(), b.GetIndexes()) && a.GetReadTimeUs() == b.GetReadTimeUs() &&
		a.GetFreshnessUs() == b.GetFreshnessUs() && a.GetStatusCounts()["PRESENT"] == b.GetStatusCounts()["PRESENT"] &&
		slices.Equal(a.GetCandidates()["item_id"].GetInt64(), b.GetCandidates()["item_id"].GetInt64())
}

func TestAnswersAreKeptByRequest(t *testing.T) {
	s := newCachedShop(t, "{request: {ttl: 5m}}")
	first := s.ask(ask(1))
	again := s.ask(ask(1))
	if first.GetCached() || !again.GetCached() || !sameAnswer(first, again) || again.GetVariant() != "default" {
		t.Errorf("%v and then %v", first, again)
	}
	top := ask(1)
	top.TopK, top.Priority = 2, onehopv1.Priority_PRIORITY_HIGH
	if res := s.ask(top); !res.GetCached() || !slices.Equal(res.GetScores(), first.GetScores()[:2]) || len(res.GetCandidates()["item_id"].GetInt64()) != 2 {
		t.Errorf("the best two are %v", res)
	}
	other := map[string]func(*onehopv1.GetFeaturesAndPredictRequest){
		"a field":         func(r *onehopv1.GetFeaturesAndPredictRequest) { r.Request["hour"].Double[0] = .75 },
		"another user":    func(r *onehopv1.GetFeaturesAndPredictRequest) { r.Entities["user_id"].Int64[0] = 2 },
		"another order":   func(r *onehopv1.GetFeaturesAndPredictRequest) { slices.Reverse(r.Candidates["item_id"].Int64) },
		"version 1":       func(r *onehopv1.GetFeaturesAndPredictRequest) { r.Version = 1 },
		"fail_on_missing": func(r *onehopv1.GetFeaturesAndPredictRequest) { r.FailOnMissing = true },
	}
	for _, bypass := range []func(*onehopv1.GetFeaturesAndPredictRequest){
		func(r *onehopv1.GetFeaturesAndPredictRequest) { r.NoCache = true },
		func(r *onehopv1.GetFeaturesAndPredictRequest) { r.Provenance = true },
		func(r *onehopv1.GetFeaturesAndPredictRequest) { r.ReturnFeatures = true },
		func(r *onehopv1.GetFeaturesAndPredictRequest) { r.AllowStale = true },
		func(r *onehopv1.GetFeaturesAndPredictRequest) { r.MaxStalenessMs = 100 },
	} {
		req := ask(1)
		bypass(req)
		other[strings.TrimSpace(req.String())] = bypass
	}
	for what, change := range other {
		req := ask(1)
		change(req)
		if res := s.ask(req); res.GetCached() || res.GetReadTimeUs() == first.GetReadTimeUs() {
			t.Errorf("%s: answered by the cache", what)
		}
	}
	hop, err := s.service.Models.Find("ranker", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer hop.Release()
	if got := hop.Model.Kept()["request"]; got.Hits != 2 || got.Misses != 5 || got.Bypassed != 5 || !got.On {
		t.Errorf("%+v", got)
	}
}

// TestVersionsDoNotShareAnswers: neither a new one, nor one whose files change under the same number, nor one that is switched back to.
func TestVersionsDoNotShareAnswers(t *testing.T) {
	s := newCachedShop(t, "{exact: {ttl: 1h}, request: {ttl: 5m}}")
	old := s.ask(ask(1))
	s.ship(3, userless+"cache: {exact: {ttl: 1h}, request: {ttl: 5m}}\n", 3)
	s.look()
	changed := s.ask(ask(1))
	if changed.GetCached() || changed.GetModelVersion() != 3 || slices.Equal(changed.GetScores(), old.GetScores()) {
		t.Errorf("version 3 answers %v", changed)
	}
	s.put("serving.yaml", []byte("default: 2"))
	s.look()
	if res := s.ask(ask(1)); res.GetModelVersion() != 2 || !sameAnswer(res, old) {
		t.Errorf("back at version 2: %v", res)
	}
	s.ship(2, shopSpec+"cache: {exact: {ttl: 1h}, request: {ttl: 5m}}\n# again\n", 4)
	s.put("2/model.onnx", onnxtest.MLP([]int{4, 8, 1}, 7))
	s.look()
	if res := s.ask(ask(1)); res.GetCached() || slices.Equal(res.GetScores(), old.GetScores()) {
		t.Errorf("another network under the same number: %v", res)
	}
}

// TestDefinitionsDoNotShareAnswers: other definitions read other features.
func TestDefinitionsDoNotShareAnswers(t *testing.T) {
	s := newCachedShop(t, "{request: {ttl: 5m}}")
	s.ask(ask(1))
	hop, err := s.service.Models.Find("ranker", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer hop.Release()
	next := *hop.Plan.Catalog
	next.Version++
	programs, err := plan.Programs(&next)
	if err != nil {
		t.Fatal(err)
	}
	s.service.Models.Define(&next, programs)
	if s.ask(ask(1)).GetCached() || !s.ask(ask(1)).GetCached() {
		t.Error("an answer by other definitions is taken, or none is kept")
	}
}

// TestExactSeesNewValues: a new feature value changes the answer at once, and only its row is run.
func TestExactSeesNewValues(t *testing.T) {
	s := newCachedShop(t, "{exact: {ttl: 1h}}")
	hop, err := s.service.Models.Find("ranker", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer hop.Release()
	s.ask(ask(1))
	before := s.ask(ask(1))
	if got := hop.Model.Kept()["exact"]; got.Hits != 9 || got.Misses != 9 {
		t.Errorf("%+v", got)
	}
	s.buy(4, 3.5)
	after := s.ask(ask(1))
	fresh := ask(1)
	fresh.NoCache = true
	if want := s.ask(fresh); slices.Equal(before.GetScores(), after.GetScores()) || !slices.Equal(after.GetScores(), want.GetScores()) {
		t.Errorf("%v after a new price, want %v; before it was %v", after.GetScores(), want.GetScores(), before.GetScores())
	}
	if got := hop.Model.Kept()["exact"]; got.Hits != 17 || got.Misses != 10 || got.Bypassed != 9 {
		t.Errorf("%+v", got)
	}
}

// TestEdgeCachesAreTold asks by GET, as a cache between here and the caller would.
func TestEdgeCachesAreTold(t *testing.T) {
	s := newCachedShop(t, "{request: {ttl: 5m}}")
	get := func(req string) (res struct {
		Cached bool
		Scores []float64
		Code   string
	}, header http.Header,
	) {
		t.Helper()
		address := s.url + onehopv1connect.InferenceServiceGetFeaturesAndPredictProcedure + "?connect=v1&encoding=json&message=" + url.QueryEscape(req)
		call, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.http.Do(call)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(got.Body)
		if err := errors.Join(err, got.Body.Close(), json.Unmarshal(text, &res)); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return res, got.Header
	}
	const req = `{"model":"ranker","entities":{"user_id":{"int64":["1"]}},"candidates":{"item_id":{"int64":["1","2"]}}`
	if res, header := get(req + "}"); res.Cached || len(res.Scores) != 2 || header.Get("Cache-Control") != "max-age=300" || header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%+v, %v", res, header)
	}
	if res, header := get(req + "}"); !res.Cached || header.Get("Cache-Control") != "max-age=300" {
		t.Errorf("%+v, %v", res, header)
	}
	for _, option := range []string{`,"noCache":true}`, `,"version":1}`} {
		if res, header := get(req + option); res.Cached || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %+v, %v", option, res, header)
		}
	}
	if res, header := get(`{"model":"ranker","candidates":{"item_id":{"int64":["1"]}}}`); res.Code != "invalid_argument" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%+v, %v", res, header)
	}
	if res, header := get(`{"model":"nobody","candidates":{"item_id":{"int64":["1"]}}}`); res.Code != "not_found" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%+v, %v", res, header)
	}
}

// TestACacheThatIsOffIsTold by ListModels and by metrics.
func TestACacheThatIsOffIsTold(t *testing.T) {
	s := newCachedShop(t, "{exact: {ttl: 1ms}}")
	s.metrics.MustRegister(PredictionCaches{Models: s.service.Models})
	on := func() (sum float64) {
		families, err := s.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "onehop_prediction_cache_on" && len(family.GetMetric()) == 1 {
				return family.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	if on() != 1 {
		t.Error("a new cache is not on")
	}
	hour, off := 0.0, false
	for deadline := time.Now().Add(20 * time.Second); !off; {
		for range 50 {
			hour++
			req := ask(1)
			req.Request["hour"].Double[0] = hour
			s.ask(req)
		}
		list, err := s.client.ListModels(t.Context(), &onehopv1.ListModelsRequest{})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no row was asked for twice, and the cache is on: %v", err)
		}
		off = slices.Equal(list.GetModels()[1].GetCachesOff(), []string{"exact"}) && list.GetModels()[0].GetCachesOff() == nil
	}
	before := s.gather()
	s.ask(ask(1))
	after := s.gather()
	const name = "onehop_prediction_cache_total exact ranker "
	if on() != 0 || after[name+"bypass 2"]-before[name+"bypass 2"] != 9 || after[name+"miss 2"] != before[name+"miss 2"] || after[name+"miss 2"] < 1000 {
		t.Errorf("on %v, %v", on(), after)
	}
}
