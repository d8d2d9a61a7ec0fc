package rpc

import (
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

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
