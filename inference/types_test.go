package inference

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

const typesSpec = `
model: ranker
inputs:
  - {tensor: ids, columns: [{from: u.ages, length: 3, default: -1}]}
  - {tensor: texts, columns: [{from: u.name, default: nobody}, {from: request.device, default: web}]}
  - {tensor: prices, columns: [{from: i.prices, length: 2, default: 0}]}
  - {tensor: half, columns: [{from: i.price, default: 0.5}]}
  - {tensor: short, columns: [{from: request.hour, default: 12}]}
output: scores
`

// typesDefinitions add lists.
var typesDefinitions = strings.NewReplacer(
	"{name: name, aggregate: latest, field: name}", "{name: name, aggregate: latest, field: name}, {name: ages, aggregate: last_n, n: 5, field: age}",
	"{name: n, aggregate: count, windows: [lifetime]}", "{name: n, aggregate: count, windows: [lifetime]}, {name: prices, aggregate: last_n, n: 5, field: price}",
).Replace(definitions)

// typesModel scores ids·(1, 10, 100) + name·1000 + device·10,000 + prices·(0.25, 0.5) + price·0.125 + hour·0.03125, where texts count as
// numbered below.
func typesModel() []byte {
	graph := onnxtest.Graph{
		Inputs: []onnxtest.Value{
			{Name: "ids", Type: onnxtest.Int64, Shape: []int64{-1, 3}},
			{Name: "texts", Type: onnxtest.String, Shape: []int64{-1, 2}},
			{Name: "prices", Type: onnxtest.Float32, Shape: []int64{-1, 2}},
			{Name: "half", Type: onnxtest.Float16, Shape: []int64{-1, 1}},
			{Name: "short", Type: onnxtest.Int32, Shape: []int64{-1, 1}},
		},
		Outputs: []onnxtest.Value{{Name: "scores", Type: onnxtest.Float32, Shape: []int64{-1, 1}}},
		Nodes: []onnxtest.Node{{
			Op: "CategoryMapper", Domain: "ai.onnx.ml", Inputs: []string{"texts"}, Outputs: []string{"numbered"},
			Attributes: [][]byte{
				onnxtest.Strings("cats_strings", "nobody", "web", "ann", "phone"), onnxtest.Ints("cats_int64s", 1, 2, 3, 4), onnxtest.Int("default_int64", 9),
			},
		}},
	}
	var parts []string
	for from, weights := range map[string][]float32{"ids": {1, 10, 100}, "numbered": {1000, 10_000}, "prices": {.25, .5}, "half": {.125}, "short": {.03125}} {
		graph.Weights = append(graph.Weights, onnxtest.Weight{Name: "w_" + from, Shape: []int64{int64(len(weights)), 1}, Data: weights})
		graph.Nodes = append(graph.Nodes,
			onnxtest.Node{Op: "Cast", Inputs: []string{from}, Outputs: []string{"f_" + from}, Attributes: [][]byte{onnxtest.Int("to", int64(onnxtest.Float32))}},
			onnxtest.Node{Op: "MatMul", Inputs: []string{"f_" + from, "w_" + from}, Outputs: []string{"p_" + from}})
		parts = append(parts, "p_"+from)
	}
	graph.Nodes = append(graph.Nodes, onnxtest.Node{Op: "Sum", Inputs: parts, Outputs: []string{"scores"}})
	return graph.Bytes()
}

// typesRequest has a user of 4 and then 7 years, without a name, and items with as many prices as their number.
func typesRequest(t *testing.T, h *Hop, n int) *Request {
	t.Helper()
	programs, err := plan.Programs(h.Plan.Catalog)
	if err != nil {
		t.Fatal(err)
	}
	var list rows
	for _, v := range h.Plan.Views {
		s := programs[v.Name].NewState()
		if v.Name == "u" {
			for i, age := range []int64{4, 7} {
				s.Fold(&featurestore.Event{Position: featurestore.Position{Time: now - 10 + int64(i)}, Values: []featurestore.Value{featurestore.IntValue(1), featurestore.IntValue(age), {}}})
			}
			list = append(list, s.AppendRow(nil))
			continue
		}
		for i := range n {
			s.Reset()
			for j := range i {
				s.Fold(&featurestore.Event{Position: featurestore.Position{Time: now - 20 + int64(j)}, Values: []featurestore.Value{featurestore.IntValue(int64(i)), featurestore.FloatValue(float64(j + 1))}})
			}
			row := s.AppendRow(nil)
			if i == 0 {
				row = nil
			}
			list = append(list, row)
		}
	}
	return &Request{
		Candidates: n, Fields: [][]float64{{8}, nil}, Texts: [][]string{nil, {"phone", "web", "tv"}}, Rows: list, Now: now,
		Values: [][]featurestore.Value{},
	}
}

func TestTensorsOfEveryType(t *testing.T) {
	s := newSetOf(t, typesDefinitions, typesModel(), typesSpec)
	h, err := s.Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	user := 7 + 10*4 - 100. // newest first, and what the list lacks is the default
	device := []float64{4, 2, 9}
	newest, before, price := []float64{0, 1, 2}, []float64{0, 0, 1}, []float64{.5, 1, 2}
	want := make([]float64, 3)
	for i := range want {
		want[i] = user + 1000*1 + 10_000*device[i] + .25*newest[i] + .5*before[i] + .125*price[i] + .03125*8
	}
	var res Result
	if err := h.Run(t.Context(), typesRequest(t, h, 3), &res); err != nil {
		t.Fatal(err)
	}
	scores, err := h.Predict(t.Context(), 3, map[string]Given{
		"u.ages": {Numbers: []float64{7, 4}, Lengths: []uint32{2}}, "request.device": {Texts: []string{"phone", "web", "tv"}},
		"i.prices": {Numbers: []float64{1, 2, 1, 5}, Lengths: []uint32{0, 1, 3}}, "i.price": {Numbers: price}, "request.hour": {Numbers: []float64{8}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if math.Abs(float64(res.Scores[i])-want[i]) > .01 || math.Abs(float64(scores[i])-want[i]) > .01 {
			t.Errorf("candidate %d scores %v, and by Predict %v, want %v", i, res.Scores[i], scores[i], want[i])
		}
	}
	huge := typesRequest(t, h, 3)
	huge.Fields[0] = []float64{3e9}
	if err := h.Run(t.Context(), huge, &res); err == nil || !strings.Contains(err.Error(), `"hour": value 1: the model's tensor cannot hold 3e+09`) {
		t.Errorf("a number that int32 does not hold: %v", err)
	}
	req := typesRequest(t, h, 3)
	req.Texts[1] = []string{"a\x00b"}
	if err := h.Run(t.Context(), req, &res); err == nil || !strings.Contains(err.Error(), "NUL") {
		t.Errorf("a text with NUL: %v", err)
	}
}

func TestColumnsThatDoNotFitTheirTensor(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"u.ages, length: 3", "u.age, length: 3", `feature "u.age" is int64 and no list`},
		{"u.ages, length: 3, default: -1", "u.ages, default: -1", "has 3 elements a row, but the columns that are listed have 1"},
		{"default: -1", "default: none", "must be of the type of input"},
		{", length: 3, default: -1", ", length: 3", "give it a default"},
		{"from: u.name", "from: u.age", "the column's tensor is of strings"},
		{"from: request.hour", "from: request.device", "the column's tensor is of numbers"},
		{"i.prices, length: 2, default: 0}", "i.prices, default: 0}, {from: i.price, default: 0}", "give its column a length"},
	} {
		s := newSetOf(t, typesDefinitions, typesModel(), strings.Replace(typesSpec, c.old, c.new, 1))
		if i := slices.IndexFunc(s.Models(), func(m Served) bool { return m.Problem != nil }); i < 0 || !strings.Contains(s.Models()[i].Problem.Error(), c.want) {
			t.Errorf("%s: %+v, want %q", c.new, s.Models(), c.want)
		}
	}
}

// TestNumbersThatATensorDoesNotHold: a feature beyond the range of its tensor is OVERFLOW, and the model has its default.
func TestNumbersThatATensorDoesNotHold(t *testing.T) {
	s := newSetOf(t, typesDefinitions, typesModel(), strings.Replace(typesSpec, "{tensor: short, columns: [{from: request.hour, default: 12}]}", "{tensor: short, columns: [{from: u.age, default: 32}]}", 1))
	h, err := s.Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	run := func(age int64, price float64) [featurestore.Statuses]uint32 {
		t.Helper()
		req := typesRequest(t, h, 2)
		programs, err := plan.Programs(h.Plan.Catalog)
		if err != nil {
			t.Fatal(err)
		}
		list, _ := req.Rows.(rows)
		at := 0
		for _, v := range h.Plan.Views {
			state := programs[v.Name].NewState()
			if v.Name == "u" {
				state.Fold(&featurestore.Event{Position: featurestore.Position{Time: now - 5}, Values: []featurestore.Value{featurestore.IntValue(1), featurestore.IntValue(age), {}}})
				list[at] = state.AppendRow(nil)
				at++
				continue
			}
			state.Fold(&featurestore.Event{Position: featurestore.Position{Time: now - 5}, Values: []featurestore.Value{featurestore.IntValue(1), featurestore.FloatValue(price)}})
			list[at+1] = state.AppendRow(nil)
			at += 2
		}
		var res Result
		if err := h.Run(t.Context(), req, &res); err != nil {
			t.Fatal(err)
		}
		told, cells := uint32(0), make([]featurestore.Cell, h.Plan.Cells)
		for candidate := range 2 {
			if err := h.Read(req, candidate, res.ReadTime, cells); err != nil {
				t.Fatal(err)
			}
			for i := range cells {
				if cells[i].Status == featurestore.Overflow && cells[i].Value.IsNull() {
					told = 1
				}
			}
		}
		if told != res.Statuses[featurestore.Overflow] {
			t.Errorf("the model had %d values that its tensors do not hold, and who asks for its features is told of %d", res.Statuses[featurestore.Overflow], told)
		}
		return res.Statuses
	}
	if statuses := run(7, 2); statuses[featurestore.Overflow] != 0 {
		t.Errorf("statuses %v of numbers that fit", statuses)
	}
	for name, c := range map[string]struct {
		age   int64
		price float64
	}{"shared": {3e9, 2}, "of a candidate": {7, 1e6}} { // into int32 and float16
		if statuses := run(c.age, c.price); statuses[featurestore.Overflow] != 1 || statuses[featurestore.Defaulted] == 0 {
			t.Errorf("%s: statuses %v", name, statuses)
		}
	}
}
