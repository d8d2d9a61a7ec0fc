package inference

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

// onDemandSpec reads what is computed from the user and the candidate, and from the request.
const onDemandSpec = `
model: ranker
inputs:
  - tensor: features
    columns: [{from: m.per_age, default: -1}, {from: i.n_lifetime, default: 0}, m.late, {from: request.hour, default: 12}]
output: scores
`

// onDemandRequest has phones and others in turn.
func onDemandRequest(t testing.TB, h *Hop, n int) *Request {
	t.Helper()
	req := request(t, h, n)
	devices := make([]featurestore.Value, n)
	for i := range devices {
		devices[i] = featurestore.StringValue([]string{"phone", "desk"}[i%2])
	}
	for _, f := range h.Plan.Request {
		if f.Name == "device" {
			req.Values = append(req.Values, devices)
		} else {
			req.Values = append(req.Values, []featurestore.Value{featurestore.FloatValue(22)})
		}
	}
	return req
}

// TestOnDemandColumnsAreComputedForEachCandidate compares with the network over what the
// expressions mean, for more candidates than fit one run.
func TestOnDemandColumnsAreComputedForEachCandidate(t *testing.T) {
	h, err := newSet(t, onDemandSpec).Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	const n = 2*batching.DefaultMaxRows + 17
	var res Result
	if err := h.Run(t.Context(), onDemandRequest(t, h, n), &res); err != nil {
		t.Fatal(err)
	}
	var input []float32
	for i := range n {
		row := []float32{float32(i) / 4, 1, float32(1 - i%2), 0.5} // the user's age is 4
		if i%7 == 6 {
			row[0], row[1] = -1, 0
		}
		input = append(input, row...)
	}
	for i, want := range onnxtest.EvaluateMLP(widths, seed, input) {
		if math.Abs(float64(res.Scores[i])-want) > 1e-4*max(1, math.Abs(want)) {
			t.Fatalf("candidate %d scores %v, want %v", i, res.Scores[i], want)
		}
	}
	// The price and the age, from which alone it is computed, are no values that the model read.
	known := uint32(n - n/7)
	want := [featurestore.Statuses]uint32{}
	want[featurestore.Present] = 2*known + n
	want[featurestore.Null], want[featurestore.NotFound], want[featurestore.Defaulted] = n/7, n/7, 2*(n/7)
	if res.Statuses != want || res.Newest != now-5 {
		t.Errorf("statuses %v, want %v; newest %d", res.Statuses, want, res.Newest)
	}
}

func TestOnDemandColumnsThatAreMissing(t *testing.T) {
	h, err := newSet(t, strings.Replace(onDemandSpec, "{from: m.per_age, default: -1}", "m.per_age", 1)).Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	var known *featurestore.Error
	req := onDemandRequest(t, h, 10)
	err = h.Run(t.Context(), req, &Result{})
	if !errors.As(err, &known) || known.Code != featurestore.Invalid || !strings.Contains(err.Error(), `candidate 7: feature "m.per_age" is NULL`) {
		t.Errorf("an unknown item without a default: %v", err)
	}
	req.Filling = true
	err = h.Run(t.Context(), req, &Result{})
	if !errors.As(err, &known) || known.Code != featurestore.Unavailable || !strings.Contains(err.Error(), `candidate 7: feature "m.per_age" is FILLING`) {
		t.Errorf("an item that may come: %v", err)
	}
	req.Values = nil
	if err = h.Run(t.Context(), req, &Result{}); err == nil || !strings.Contains(err.Error(), "0 fields are given") {
		t.Errorf("a request without fields: %v", err)
	}
	req = onDemandRequest(t, h, 310)
	list, _ := req.Rows.(rows) // of the items and then of the user
	for i := range 300 {
		list[i] = list[0]
	}
	if err := h.Run(t.Context(), req, &Result{}); err == nil || !strings.Contains(err.Error(), `candidate 301: feature "m.per_age" is NULL`) {
		t.Errorf("an unknown item in the second run: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.candidates(ctx, req, &Result{ReadTime: now}, h.Model.slabsOf(t), 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("computed for a caller that went away: %v", err)
	}
}

// slabsOf is memory of the model, for the test.
func (m *Model) slabsOf(t *testing.T) []slab {
	t.Helper()
	b, err := m.queue.Take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.queue.Release(b) })
	return m.slabs(b, nil)
}

// TestNumbersOnDemandAllocateNothingForACandidate is a promise of the hot path.
func TestNumbersOnDemandAllocateNothingForACandidate(t *testing.T) {
	h, err := newSet(t, strings.Replace(onDemandSpec, "m.late", "{from: u.age, default: 0}", 1)).Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	measure := func(n int) float64 {
		req, res := onDemandRequest(t, h, n), &Result{}
		return testing.AllocsPerRun(50, func() {
			if err := h.Run(context.Background(), req, res); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := measure(10), measure(250); many > few+1 { // a pool may be emptied meanwhile
		t.Errorf("%v allocations for 10 candidates, %v for 250", few, many)
	}
}

// BenchmarkRunOnDemand is BenchmarkRun of 100 candidates with one column that is computed: of
// numbers, or with a text.
func BenchmarkRunOnDemand(b *testing.B) {
	for name, spec := range map[string]string{
		"numbers": strings.Replace(onDemandSpec, "m.late", "{from: u.age, default: 0}", 1),
		"text":    strings.Replace(onDemandSpec, "{from: m.per_age, default: -1}", "{from: u.age, default: 0}", 1),
	} {
		b.Run(name, func(b *testing.B) {
			h, err := newSet(b, spec).Find("ranker", 0)
			if err != nil {
				b.Fatal(err)
			}
			req, res := onDemandRequest(b, h, 100), &Result{}
			b.ReportAllocs()
			for b.Loop() {
				if err := h.Run(context.Background(), req, res); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
