package oip_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/oip/oiptest"
	"github.com/onehop/onehop/schemas/inference"
)

func answer(change func(*inference.ModelInferResponse)) oiptest.Behaviour {
	return oiptest.Behaviour{Infer: func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		res, err := oiptest.Sum(ctx, req)
		if err == nil {
			change(res)
		}
		return res, err
	}}
}

// TestBadAnswers: each is an error of that run, which names model and replica; it is not tried again, and the next run is not disturbed.
func TestBadAnswers(t *testing.T) {
	type res = *inference.ModelInferResponse
	server := oiptest.Start(t)
	m := load(t, options(server))
	for message, behaviour := range map[string]oiptest.Behaviour{
		`no output "scores"`:                   answer(func(r res) { r.Outputs[0].Name = "label" }),
		"but 0 others":                         answer(func(r res) { r.Reset() }),
		`datatype "FP64"`:                      answer(func(r res) { r.Outputs[0].Datatype = "FP64" }),
		"2 rows were sent":                     answer(func(r res) { r.Outputs[0].Shape[0] = 3 }),
		"rows must come first":                 answer(func(r res) { r.Outputs[0].Shape = nil }),
		"a row must have 1 elements":           answer(func(r res) { r.Outputs[0].Shape[1] = -1 }),
		"it has 7 bytes; its shape and":        answer(func(r res) { r.RawOutputContents[0] = r.RawOutputContents[0][:7] }),
		"it has 9 bytes":                       answer(func(r res) { r.RawOutputContents[0] = append(r.RawOutputContents[0], 0) }),
		"raw contents for 2 outputs, of 1":     answer(func(r res) { r.RawOutputContents = append(r.RawOutputContents, nil) }),
		"it has 0 elements; its shape takes 2": answer(func(r res) { r.RawOutputContents = nil }),
		"it has 1 elements": answer(func(r res) {
			r.RawOutputContents = nil
			r.Outputs[0].Contents = &inference.InferTensorContents{Fp32Contents: []float32{1}}
		}),
		"larger than configured max": answer(func(r res) { r.RawOutputContents[0] = make([]byte, 5<<20) }),
		"unmarshal": {Intercept: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write([]byte{0, 0, 0, 0, 3, 0xff, 0xff, 0xff})
			w.Header().Set("Grpc-Status", "0")
		}},
	} {
		t.Run(message, func(t *testing.T) {
			server.Behave(behaviour)
			before := server.Calls()
			failed := failure(t.Context(), t, m)
			text := failed.Error()
			if failed.Outcome != oip.BadAnswer || !strings.Contains(text, message) || !strings.Contains(text, "ranker") || !strings.Contains(text, server.Address()) {
				t.Errorf("outcome %s of %q, want bad_answer with %q", failed.Outcome, text, message)
			}
			if calls := server.Calls() - before; calls > 1 {
				t.Errorf("it was asked %d times", calls)
			}
			server.Behave(oiptest.Behaviour{})
			checkRun(t, m)
		})
	}
}

// TestMoreThanAskedFor: outputs in any order, and others beside, are taken.
func TestMoreThanAskedFor(t *testing.T) {
	server := oiptest.Start(t)
	server.Behave(answer(func(r *inference.ModelInferResponse) {
		r.Outputs = []*inference.ModelInferResponse_InferOutputTensor{{Name: "label", Datatype: "BYTES"}, r.Outputs[0]}
		r.Outputs[1].Shape = r.Outputs[1].Shape[:1]
		r.RawOutputContents = [][]byte{{1, 2}, r.RawOutputContents[0]}
	}))
	checkRun(t, load(t, options(server)))
}

// TestOpenOutputWidth: where the description leaves the output's width open, a score is one number all the same.
func TestOpenOutputWidth(t *testing.T) {
	server := oiptest.Start(t)
	described := oiptest.Describe("ranker", "FP32", "FP32")
	described.Outputs[0].Shape = []int64{-1, -1}
	server.Behave(oiptest.Behaviour{Metadata: described})
	m := load(t, options(server))
	if width := m.Outputs()[0].Width(); width != 1 {
		t.Errorf("the output's width is %d, want 1", width)
	}
	checkRun(t, m)
	behaviour := answer(func(r *inference.ModelInferResponse) {
		r.Outputs[0].Shape[1] = 2
		r.RawOutputContents[0] = append(r.RawOutputContents[0], r.RawOutputContents[0]...)
	})
	behaviour.Metadata = described
	server.Behave(behaviour)
	if _, err := oip.Load(t.Context(), options(server), oiptest.Output); err == nil || !strings.Contains(err.Error(), "a row must have 1 elements") {
		t.Errorf("an output of two numbers a row: %v", err)
	}
}
