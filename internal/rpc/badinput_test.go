package rpc

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

type rankRequest = onehopv1.GetFeaturesAndPredictRequest

// TestBadRequests walks what callers may send. Each gets its code and a message that says what is wrong, and a good request between
// them gets the same scores as before.
func TestBadRequests(t *testing.T) {
	s := newShop(t)
	good := s.ask(ask(3)).GetScores()
	ids := func(n int) []int64 { return make([]int64, n) }
	for _, c := range []struct {
		name   string
		change func(r *rankRequest)
		code   connect.Code // 0 for none
		want   string
	}{
		{"unknown ids", func(r *rankRequest) {
			r.Candidates["item_id"].Int64 = []int64{77, 78}
			r.Entities["user_id"].Int64[0] = 99
		}, 0, ""},
		{"duplicates", func(r *rankRequest) { r.Candidates["item_id"].Int64 = []int64{3, 3, 3} }, 0, ""},
		{"top_k beyond the candidates", func(r *rankRequest) { r.TopK = 50_000 }, 0, ""},
		{"10,000 candidates", func(r *rankRequest) { r.Candidates["item_id"].Int64 = ids(10_000) }, 0, ""},
		{"10,001 candidates", func(r *rankRequest) { r.Candidates["item_id"].Int64 = ids(10_001) }, connect.CodeInvalidArgument, "10001 values; at most 10000"},
		{"no candidates", func(r *rankRequest) { r.Candidates["item_id"].Int64 = nil }, connect.CodeInvalidArgument, `join key "item_id"`},
		{"no candidates' keys", func(r *rankRequest) { r.Candidates = nil }, connect.CodeInvalidArgument, "candidates"},
		{"texts for numbers", func(r *rankRequest) { r.Candidates["item_id"] = &onehopv1.Values{String_: []string{"7"}} }, connect.CodeInvalidArgument, "int64"},
		{"two types at once", func(r *rankRequest) { r.Candidates["item_id"].String_ = []string{"7"} }, connect.CodeInvalidArgument, "item_id"},
		{"an unknown join key", func(r *rankRequest) { r.Candidates["movie_id"] = &onehopv1.Values{Int64: ids(9)} }, connect.CodeInvalidArgument, "movie_id"},
		{"no user", func(r *rankRequest) { r.Entities = nil }, connect.CodeInvalidArgument, "user_id"},
		{"two users", func(r *rankRequest) { r.Entities["user_id"].Int64 = ids(2) }, connect.CodeInvalidArgument, "a shared entity has one"},
		{"NaN", func(r *rankRequest) { r.Request["hour"].Double[0] = math.NaN() }, connect.CodeInvalidArgument, "value 1 is not finite"},
		{"infinity", func(r *rankRequest) { r.Request["hour"].Double[0] = math.Inf(-1) }, connect.CodeInvalidArgument, "not finite"},
		{"a field of another length", func(r *rankRequest) { r.Request["hour"].Double = []float64{1, 2} }, connect.CodeInvalidArgument, "2 values; give one, or one for each of the 9"},
		{"a field without values", func(r *rankRequest) { r.Request["hour"] = &onehopv1.Values{} }, connect.CodeInvalidArgument, `request: "hour" has no values`},
		{"a text field for a number", func(r *rankRequest) { r.Request["hour"] = &onehopv1.Values{String_: []string{"noon"}} }, connect.CodeInvalidArgument, "needs numbers"},
		{"an unknown field", func(r *rankRequest) { r.Request["minute"] = &onehopv1.Values{Double: []float64{1}} }, connect.CodeInvalidArgument, "minute"},
		{"an unknown model", func(r *rankRequest) { r.Model = "rankest" }, connect.CodeNotFound, `no model "rankest"`},
		{"no model", func(r *rankRequest) { r.Model = "" }, connect.CodeInvalidArgument, "model"},
		{"an unknown version", func(r *rankRequest) { r.Version = 9 }, connect.CodeNotFound, "no version 9"},
		{"an unknown alias", func(r *rankRequest) { r.Alias = "best" }, connect.CodeNotFound, "best"},
		{"a priority that is none", func(r *rankRequest) { r.Priority = 7 }, connect.CodeInvalidArgument, "priority"},
		{"copies of last week", func(r *rankRequest) { r.MaxStalenessMs = 7 * 86_400_000 }, connect.CodeInvalidArgument, "max_staleness_ms"},
		{"too much", func(r *rankRequest) { r.Request["hour"].Bytes = [][]byte{make([]byte, maxMessage)} }, connect.CodeResourceExhausted, "16777216"},
	} {
		req := ask(3)
		c.change(req)
		res, err := s.client.GetFeaturesAndPredict(t.Context(), req)
		switch {
		case c.code == 0 && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.code == 0 && len(res.GetScores()) != len(req.GetCandidates()["item_id"].GetInt64()):
			t.Errorf("%s: %d scores", c.name, len(res.GetScores()))
		case c.code != 0 && (connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s with %q", c.name, err, c.code, c.want)
		}
		if again := s.ask(ask(3)).GetScores(); !slices.Equal(again, good) {
			t.Errorf("after %s a good request scores %v, not %v", c.name, again, good)
		}
	}
	counted := s.service.Answers.total
	if n := testutil.ToFloat64(counted.WithLabelValues("ranker", "1", "default", "error")); n != 0 {
		t.Errorf("%v mistakes of callers count as errors of the model", n)
	}
	if n := testutil.ToFloat64(counted.WithLabelValues("ranker", "1", "default", "invalid")); n < 10 {
		t.Errorf("%v mistakes of callers are counted", n)
	}
}

// TestBadPredictRequests is TestBadRequests for Predict.
func TestBadPredictRequests(t *testing.T) {
	s := newShop(t)
	for name, c := range map[string]struct {
		columns map[string]*onehopv1.Values
		want    string
	}{
		"an unknown column":   {map[string]*onehopv1.Values{"u.age": {Int64: []int64{1}}}, "u.age"},
		"lengths that differ": {map[string]*onehopv1.Values{"u.n_lifetime": {Int64: []int64{1, 2}}, "i.price": {Double: []float64{1, 2, 3}}}, "where there are 3 rows"},
		"texts":               {map[string]*onehopv1.Values{"i.price": {String_: []string{"cheap"}}}, "needs numbers"},
		"nothing":             {map[string]*onehopv1.Values{"i.price": {}}, `columns: "i.price" has no values`},
		"NaN":                 {map[string]*onehopv1.Values{"i.price": {Double: []float64{1, math.NaN()}}}, "value 2 is not finite"},
	} {
		_, err := s.client.Predict(t.Context(), &onehopv1.PredictRequest{Model: "ranker", Columns: c.columns})
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestPredictWithLists: the elements of all rows stand one behind the other.
func TestPredictWithLists(t *testing.T) {
	s := newShop(t)
	s.put("2/model.onnx", onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "x", Type: onnxtest.Float32, Shape: []int64{-1, 3}}},
		Outputs: []onnxtest.Value{{Name: "scores", Type: onnxtest.Float32, Shape: []int64{-1, 1}}},
		Nodes:   []onnxtest.Node{{Op: "ReduceMax", Inputs: []string{"x"}, Outputs: []string{"scores"}, Attributes: [][]byte{onnxtest.Ints("axes", 1)}}},
	}.Bytes())
	s.put("2/model.yaml", []byte("model: ranker\ninputs: [{tensor: x, columns: [{from: i.prices, length: 3, default: -1}]}]\noutput: scores\n"))
	s.look()
	ask := func(lengths ...uint32) ([]float32, error) {
		res, err := s.client.Predict(t.Context(), &onehopv1.PredictRequest{Model: "ranker", Version: 2, Columns: map[string]*onehopv1.Values{
			"i.prices": {Double: []float64{1, 5, 2, 7}, ListLengths: lengths},
		}})
		return res.GetScores(), err
	}
	if scores, err := ask(3, 0, 1); err != nil || !slices.Equal(scores, []float32{5, -1, 7}) {
		t.Errorf("scores %v, %v", scores, err)
	}
	if _, err := ask(3, 2); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "list_lengths must say") {
		t.Errorf("lengths that lie: %v", err)
	}
}

// TestBadBytes sends what is no message at all.
func TestBadBytes(t *testing.T) {
	s := newShop(t)
	good := s.ask(ask(3)).GetScores()
	procedure := onehopv1connect.InferenceServiceGetFeaturesAndPredictProcedure
	whole, err := proto.Marshal(ask(3))
	if err != nil {
		t.Fatal(err)
	}
	bomb := &bytes.Buffer{}
	zip := gzip.NewWriter(bomb)
	for range 64 {
		_, _ = zip.Write(make([]byte, 1<<20))
	}
	_ = zip.Close()
	for name, c := range map[string]struct {
		body   io.Reader
		header map[string]string
		status int
		want   string
	}{
		"noise":                  {strings.NewReader("\xff\xff\xff\xff\x0f"), nil, http.StatusBadRequest, "invalid_argument"},
		"a length that lies":     {strings.NewReader("\x0a\x7fshort"), nil, http.StatusBadRequest, "invalid_argument"},
		"a bomb":                 {bytes.NewReader(bomb.Bytes()), map[string]string{"Content-Encoding": "gzip"}, http.StatusTooManyRequests, "resource_exhausted"},
		"no gzip":                {strings.NewReader("\x0a\x06ranker"), map[string]string{"Content-Encoding": "gzip"}, http.StatusBadRequest, "invalid_argument"},
		"an unknown encoding":    {strings.NewReader("x"), map[string]string{"Content-Encoding": "zpaq"}, http.StatusNotImplemented, "zpaq"},
		"a deadline that passed": {bytes.NewReader(whole), map[string]string{"Connect-Timeout-Ms": "0"}, http.StatusGatewayTimeout, "deadline_exceeded"},
		"JSON that is none":      {strings.NewReader(`{"model": ranker}`), map[string]string{"Content-Type": "application/json"}, http.StatusBadRequest, "invalid_argument"},
		"JSON of wrong types":    {strings.NewReader(`{"model": 7}`), map[string]string{"Content-Type": "application/json"}, http.StatusBadRequest, "invalid_argument"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+procedure, c.body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/proto")
		req.Header.Set("Connect-Protocol-Version", "1")
		for key, value := range c.header {
			req.Header.Set(key, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.status || !strings.Contains(string(text), c.want) {
			t.Errorf("%s: status %d, %s", name, res.StatusCode, text)
		}
	}
	// A caller who promises more than it sends, and goes.
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\nContent-Length: 1000\r\n\r\n\x0a", procedure)
	_ = conn.Close()
	if again := s.ask(ask(3)).GetScores(); !slices.Equal(again, good) {
		t.Errorf("a good request scores %v, not %v", again, good)
	}
	http.DefaultClient.CloseIdleConnections()
}

// column is a model.yaml whose tensor of one column is the hour.
func column(tensor string) string {
	return "model: ranker\ninputs: [{tensor: " + tensor + ", columns: [{from: request.hour, default: 1}]}]\noutput: scores\n"
}

// one is a graph from x to scores, one number a row each, by some operators.
func one(x onnxtest.ElementType, weights []onnxtest.Weight, nodes ...onnxtest.Node) []byte {
	return onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "x", Type: x, Shape: []int64{-1, 1}}},
		Outputs: []onnxtest.Value{{Name: "scores", Type: onnxtest.Float32, Shape: []int64{-1, 1}}}, Weights: weights, Nodes: nodes,
	}.Bytes()
}

// slow is a model that takes hundreds of milliseconds.
func slow() []byte {
	const width, layers = 256, 4000
	weights := []onnxtest.Weight{
		{Name: "in", Shape: []int64{1, width}, Data: make([]float32, width)},
		{Name: "w", Shape: []int64{width, width}, Data: make([]float32, width*width)},
		{Name: "out", Shape: []int64{width, 1}, Data: make([]float32, width)},
	}
	nodes := []onnxtest.Node{{Op: "MatMul", Inputs: []string{"x", "in"}, Outputs: []string{"h0"}}}
	for i := range layers {
		nodes = append(nodes, onnxtest.Node{Op: "MatMul", Inputs: []string{fmt.Sprint("h", i), "w"}, Outputs: []string{fmt.Sprint("h", i+1)}})
	}
	nodes = append(nodes, onnxtest.Node{Op: "MatMul", Inputs: []string{fmt.Sprint("h", layers), "out"}, Outputs: []string{"scores"}})
	return one(onnxtest.Float32, weights, nodes...)
}

// TestBadModels: versions 2 to 5 fail in their ways, and version 1 answers beside them as ever.
func TestBadModels(t *testing.T) {
	s := newShop(t)
	good := s.ask(ask(3)).GetScores()
	ship := func(version string, model []byte) {
		s.put(version+"/model.onnx", model)
		s.put(version+"/model.yaml", []byte(column("x")))
	}
	ship("2", one(onnxtest.Int64, []onnxtest.Weight{{Name: "table", Shape: []int64{4}, Data: []float32{1, 2, 3, 4}}},
		onnxtest.Node{Op: "Gather", Inputs: []string{"table", "x"}, Outputs: []string{"scores"}}))
	ship("3", one(onnxtest.Float32, nil, onnxtest.Node{Op: "Sqrt", Inputs: []string{"x"}, Outputs: []string{"scores"}}))
	ship("4", slow())
	ship("5", one(onnxtest.Float32, nil, onnxtest.Node{Op: "ReduceMax", Inputs: []string{"x"}, Outputs: []string{"scores"}, Attributes: [][]byte{onnxtest.Ints("axes", 0)}}))
	s.put("serving.yaml", []byte("default: 1"))
	s.look()
	of := func(version int64, hours ...float64) *rankRequest {
		req := ask(3)
		req.Version, req.Request["hour"].Double = version, hours
		return req
	}
	var all sync.WaitGroup
	for range 8 { // beside each other, so that they share runs
		all.Go(func() {
			if _, err := s.client.GetFeaturesAndPredict(t.Context(), of(2, 9)); connect.CodeOf(err) != connect.CodeInternal || !strings.Contains(err.Error(), "internal error; the service's log has it under id") {
				t.Errorf("a model that fails: %v", err)
			}
		})
		all.Go(func() {
			if res, err := s.client.GetFeaturesAndPredict(t.Context(), of(2, 3)); err != nil || res.GetScores()[0] != 4 {
				t.Errorf("the same model on a good row: %v, %v", res.GetScores(), err)
			}
		})
	}
	all.Wait()
	res := s.ask(of(3, -1, 4, 9, -1, 1, 16, 25, 36, 49))
	if scores := res.GetScores(); scores[0] != 7 || scores[6] != 1 || !math.IsNaN(float64(scores[7])) || !slices.Equal(res.GetIndexes(), []uint32{8, 7, 6, 5, 2, 1, 4, 0, 3}) {
		t.Errorf("a model that answers NaN: %v, %v", res.GetIndexes(), scores)
	}
	start := time.Now()
	s.ask(of(4, 1))
	whole := time.Since(start)
	ctx, cancel := context.WithTimeout(t.Context(), whole/10)
	defer cancel()
	start = time.Now()
	hung := make(chan error, 1)
	go func() {
		_, err := s.client.GetFeaturesAndPredict(ctx, of(4, 1))
		hung <- err
	}()
	if again := s.ask(ask(3)).GetScores(); !slices.Equal(again, good) {
		t.Errorf("beside a model that hangs a good request scores %v, not %v", again, good)
	}
	if err := <-hung; connect.CodeOf(err) != connect.CodeDeadlineExceeded && connect.CodeOf(err) != connect.CodeResourceExhausted || time.Since(start) > whole/2 {
		t.Errorf("a model that hangs, after %s: %v", time.Since(start), err)
	}
	gone, leave := context.WithCancel(t.Context())
	time.AfterFunc(whole/10, leave)
	if _, err := s.client.GetFeaturesAndPredict(gone, of(4, 1)); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("a caller who went away: %v", err)
	}
	if _, err := s.client.GetFeaturesAndPredict(t.Context(), of(5, 1)); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "version 5") {
		t.Errorf("a model of the wrong shape: %v", err)
	}
}
