package oip_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/oip/oiptest"
	"github.com/onehop/onehop/schemas/inference"
)

func options(servers ...*oiptest.Server) oip.Options {
	o := oip.Options{Model: "ranker", Timeout: 5 * time.Second}
	for _, s := range servers {
		o.Endpoints = append(o.Endpoints, s.Address())
	}
	return o
}

func load(tb testing.TB, o oip.Options) *oip.Model {
	tb.Helper()
	m, err := oip.Load(tb.Context(), o, oiptest.Output)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := m.Close(); err != nil {
			tb.Error(err)
		}
	})
	return m
}

func newBatch(tb testing.TB, m *oip.Model, rows int) *oip.Batch {
	tb.Helper()
	b, err := m.NewBatch(rows)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// fill gives row i the features i, 0.5, 0, 0, and so the score i + 0.5.
func fill(b *oip.Batch) {
	input := b.Memory().Float32(0)
	for i := 0; i < len(input); i += oiptest.Width {
		input[i], input[i+1] = float32(i/oiptest.Width), 0.5
	}
}

func checkScores(t *testing.T, b *oip.Batch, rows int) {
	t.Helper()
	scores := b.Memory().Scores(0)
	if len(scores) != rows {
		t.Fatalf("%d scores, want %d", len(scores), rows)
	}
	for i, score := range scores {
		if score != float32(i)+0.5 {
			t.Fatalf("score %d is %v, want %v", i, score, float32(i)+0.5)
		}
	}
}

func TestRunScoresTheFirstRows(t *testing.T) {
	m := load(t, options(oiptest.Start(t)))
	if got := m.Inputs()[0].String(); got != "features float[?,4]" || m.FixedRows() != 0 || m.Outputs()[0].Name != oiptest.Output {
		t.Errorf("input %s, outputs %v, %d rows", got, m.Outputs(), m.FixedRows())
	}
	b := newBatch(t, m, 100)
	fill(b)
	for _, rows := range []int{100, 1, 37} {
		if err := b.Run(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		checkScores(t, b, rows)
	}
	for _, rows := range []int{0, 101} {
		if err := b.Run(t.Context(), rows); err == nil {
			t.Errorf("a run of %d rows of 100", rows)
		}
	}
}

// TestNaNIsAScore: what the model makes of it is no business of ours.
func TestNaNIsAScore(t *testing.T) {
	b := newBatch(t, load(t, options(oiptest.Start(t))), 1)
	b.Memory().Float32(0)[0] = float32(math.NaN())
	if err := b.Run(t.Context(), 1); err != nil || !math.IsNaN(float64(b.Memory().Scores(0)[0])) {
		t.Errorf("scores %v, %v", b.Memory().Scores(0), err)
	}
}

// TestTextsAndTypes: all types of inputs go over the wire, and scores of all types and forms come back.
func TestTextsAndTypes(t *testing.T) {
	server := oiptest.Start(t)
	described := &inference.ModelMetadataResponse{Outputs: []*inference.ModelMetadataResponse_TensorMetadata{{Name: oiptest.Output, Shape: []int64{-1}}}}
	for _, datatype := range []string{"FP16", "FP32", "FP64", "INT32", "INT64", "BYTES"} {
		described.Inputs = append(described.Inputs, &inference.ModelMetadataResponse_TensorMetadata{Name: datatype, Datatype: datatype, Shape: []int64{-1, 2}})
	}
	for datatype, contents := range map[string]*inference.InferTensorContents{
		"FP32": {Fp32Contents: []float32{-2, 3}}, "FP64": {Fp64Contents: []float64{-2, 3}}, "INT32": {IntContents: []int32{-2, 3}},
		"INT64": {Int64Contents: []int64{-2, 3}}, "FP16": nil,
	} {
		t.Run(datatype, func(t *testing.T) {
			described.Outputs[0].Datatype = datatype
			var got *inference.ModelInferRequest
			server.Behave(oiptest.Behaviour{Metadata: described, Infer: func(_ context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
				got = req
				rows := int(req.GetInputs()[0].GetShape()[0])
				if datatype == "FP16" {
					return oiptest.Answer(rows, datatype, []byte{0, 0xc0, 0, 0x42}[:2*rows]), nil
				}
				res := oiptest.Answer(rows, datatype, nil)
				res.RawOutputContents = nil
				if rows == 1 { // the trial run
					contents := &inference.InferTensorContents{Fp32Contents: []float32{1}, Fp64Contents: []float64{1}, IntContents: []int32{1}, Int64Contents: []int64{1}}
					res.Outputs[0].Contents = contents
					return res, nil
				}
				res.Outputs[0].Contents = contents
				return res, nil
			}})
			m := load(t, options(server))
			b := newBatch(t, m, 2)
			texts := b.Memory().Strings(5)
			texts[0], texts[3] = "é", "b"
			b.Memory().Int64(4)[3] = -1
			if err := b.Run(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			if scores := b.Memory().Scores(0); len(scores) != 2 || scores[0] != -2 || scores[1] != 3 {
				t.Errorf("scores %v", scores)
			}
			zeros := func(n int) string { return strings.Repeat("\x00", n) }
			want := []string{
				zeros(2 * 4), zeros(4 * 4), zeros(8 * 4), zeros(4 * 4), zeros(8*3) + strings.Repeat("\xff", 8),
				"\x02\x00\x00\x00é" + zeros(4) + zeros(4) + "\x01\x00\x00\x00b",
			}
			for i, raw := range got.GetRawInputContents() {
				if string(raw) != want[i] {
					t.Errorf("input %s was sent as %q, want %q", got.GetInputs()[i].GetDatatype(), raw, want[i])
				}
			}
		})
	}
}

func TestLoadRefusesWhatCannotBeFilled(t *testing.T) {
	server := oiptest.Start(t)
	with := func(change func(*inference.ModelMetadataResponse)) oiptest.Behaviour {
		m := oiptest.Describe("ranker", "FP32", "FP32")
		change(m)
		return oiptest.Behaviour{Metadata: m}
	}
	for message, behaviour := range map[string]oiptest.Behaviour{
		"is not ready":              {NotReady: true},
		"who are you":               {Token: "secret"},
		"names no inputs":           with(func(m *inference.ModelMetadataResponse) { m.Inputs = nil }),
		`is of datatype "UINT8"`:    with(func(m *inference.ModelMetadataResponse) { m.Inputs[0].Datatype = "UINT8" }),
		"every size but rows known": with(func(m *inference.ModelMetadataResponse) { m.Inputs[0].Shape[1] = -1 }),
		"the first one must count":  with(func(m *inference.ModelMetadataResponse) { m.Inputs[0].Shape = nil }),
		"at most 16384 rows":        with(func(m *inference.ModelMetadataResponse) { m.Inputs[0].Shape[0] = 1 << 40 }),
		"another input is fixed to": with(func(m *inference.ModelMetadataResponse) {
			m.Inputs = append(m.Inputs, &inference.ModelMetadataResponse_TensorMetadata{Name: "b", Datatype: "FP32", Shape: []int64{3, 1}})
			m.Inputs[0].Shape[0] = 2
		}),
		`no output "scores", only ["label"]`: with(func(m *inference.ModelMetadataResponse) { m.Outputs[0].Name = "label" }),
		"a score is a number":                with(func(m *inference.ModelMetadataResponse) { m.Outputs[0].Datatype = "BYTES" }),
		"trial run: 1 rows":                  with(func(m *inference.ModelMetadataResponse) { m.Outputs[0].Datatype = "FP64" }),
	} {
		t.Run(message, func(t *testing.T) {
			server.Behave(behaviour)
			_, err := oip.Load(t.Context(), options(server), oiptest.Output)
			if err == nil || !strings.Contains(err.Error(), message) || !strings.Contains(err.Error(), `remote model "ranker"`) {
				t.Errorf("error %v, want one with %q and the model", err, message)
			}
		})
	}
}

func TestTokenComesFromTheEnvironment(t *testing.T) {
	server := oiptest.Start(t)
	server.Behave(oiptest.Behaviour{Token: "secret"})
	o := options(server)
	o.TokenFrom = "ONEHOP_MODEL_TOKEN_TEST"
	if _, err := oip.Load(t.Context(), o, oiptest.Output); err == nil || !strings.Contains(err.Error(), o.TokenFrom) {
		t.Errorf("without the variable: %v", err)
	}
	t.Setenv(o.TokenFrom, "secret")
	checkRun(t, load(t, o))
	t.Setenv(o.TokenFrom, "wrong-token")
	if _, err := oip.Load(t.Context(), o, oiptest.Output); err == nil || strings.Contains(err.Error(), "wrong-token") {
		t.Errorf("with a wrong token: %v", err)
	}
}

func TestFixedRowsAndChange(t *testing.T) {
	server := oiptest.Start(t)
	described := oiptest.Describe("ranker", "FP32", "FP32")
	described.Inputs[0].Shape[0] = 3
	server.Behave(oiptest.Behaviour{Metadata: described})
	m := load(t, options(server))
	if m.FixedRows() != 3 {
		t.Errorf("fixed to %d rows, want 3", m.FixedRows())
	}
	if _, err := m.NewBatch(2); err == nil {
		t.Error("a batch of 2 rows")
	}
	if m.Changed(t.Context()) {
		t.Error("it changed by itself")
	}
	server.Behave(oiptest.Behaviour{})
	if !m.Changed(t.Context()) {
		t.Error("it did not change when its description did")
	}
	server.Kill(t)
	if m.Changed(t.Context()) {
		t.Error("it changed when the server went away")
	}
}
