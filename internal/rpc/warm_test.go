package rpc

import (
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

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
	s.ship(2, shopSpec, 4)
	s.put("2/model.onnx", onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "features", Type: onnxtest.Float32, Shape: []int64{-1, 4}}},
		Outputs: []onnxtest.Value{{Name: "scores", Type: onnxtest.Float32, Shape: []int64{-1, 1}}},
		Nodes: []onnxtest.Node{
			{Op: "ReduceMin", Inputs: []string{"features"}, Outputs: []string{"least"}, Attributes: [][]byte{onnxtest.Ints("axes", 1)}},
			{Op: "Sub", Inputs: []string{"least", "least"}, Outputs: []string{"zero"}},
			{Op: "Div", Inputs: []string{"zero", "zero"}, Outputs: []string{"scores"}},
		},
	}.Bytes())
	s.look()
	if p, err := s.service.Models.Find("ranker", 2); err == nil || !strings.Contains(err.Error(), "scores of requests that were answered lately are NaN") {
		t.Errorf("a model that knows no numbers: %v", err)
		p.Release()
	}
	for _, req := range kept {
		delete(req.Entities, "user_id")
	}
	if err := s.service.Warm(t.Context(), now); err != nil {
		t.Errorf("requests that lack what the version reads: %v", err)
	}
}
