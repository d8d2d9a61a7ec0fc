package rpc

import (
	"math"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

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
