package inference

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/repository"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const definitions = `
namespace: test
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
  - {name: item, keys: [{name: item_id, type: int64}]}
sources:
  - name: users
    format: json
    event_time: {field: at, unit: us}
    fields: [{name: user_id, type: int64, required: true}, {name: age, type: int64}, {name: name, type: string}]
  - name: items
    format: json
    event_time: {field: at, unit: us}
    fields: [{name: item_id, type: int64, required: true}, {name: price, type: float64}]
views:
  - {name: u, entity: user, source: users, features: [{name: age, aggregate: latest, field: age}, {name: name, aggregate: latest, field: name}]}
  - {name: i, entity: item, source: items, features: [{name: price, aggregate: latest, field: price}, {name: n, aggregate: count, windows: [lifetime]}]}
on_demand:
  - name: m
    request: [{name: hour, type: float64}, {name: device, type: string}]
    features:
      - {name: per_age, expression: i.price * 100.0 / double(u.age)}
      - {name: late, expression: "request.hour > 21.0 && request.device == 'phone'"}
      - {name: title, expression: u.name + request.device}
services:
  - {name: all, features: [u.*, i.*, m.*]}
models:
  - {name: ranker, service: all, candidates: item, request: [{name: hour, type: float64}, {name: device, type: string}]}
`

const spec = `
model: ranker
inputs:
  - tensor: features
    columns: [{from: u.age, default: 30}, i.price, {from: i.n_lifetime, default: 0}, {from: request.hour, default: 12}]
output: scores
`

// The model, with values at which its scores are not all 0 or 1: the sigmoid at its end is
// flat elsewhere.
var (
	widths = []int{4, 8, 1}
	seed   = uint64(12)
)

// set makes a repository with one version of the ranker and compiles it.
func newSet(t testing.TB, spec string) *Set {
	t.Helper()
	return newSetOf(t, definitions, onnxtest.MLP(widths, seed), spec)
}

func newSetOf(t testing.TB, definitions string, model []byte, spec string) *Set {
	t.Helper()
	rt := onnxtest.Open(t)
	dir := t.TempDir()
	version := filepath.Join(dir, "ranker", "1")
	err := errors.Join(os.MkdirAll(version, 0o750), os.WriteFile(filepath.Join(version, "model.onnx"), model, 0o600),
		os.WriteFile(filepath.Join(version, "model.yaml"), []byte(spec), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	repo, err := repository.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSet(rt, repo, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	catalog, err := definition.Parse([]definition.File{{Name: "d.yaml", Text: []byte(definitions)}})
	if err != nil {
		t.Fatal(err)
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		t.Fatal(err)
	}
	s.Define(catalog, programs)
	return s
}

type rows [][]byte

func (r rows) Row(i int) []byte { return r[i] }

func (rows) Stale(int) bool { return false }

const now = int64(1_700_000_000_000_000)

// request makes the rows of one user and n items; item i costs i/100, and every seventh item
// is unknown.
func request(t testing.TB, h *Hop, n int) *Request {
	t.Helper()
	programs, err := plan.Programs(h.Plan.Catalog)
	if err != nil {
		t.Fatal(err)
	}
	var list rows
	for _, v := range h.Plan.Views {
		s := programs[v.Name].NewState()
		if v.Name == "u" {
			s.Fold(&featurestore.Event{Position: featurestore.Position{Time: now - 5}, Values: []featurestore.Value{featurestore.IntValue(1), featurestore.IntValue(4), {}}})
			list = append(list, s.AppendRow(nil))
			continue
		}
		for i := range n {
			if i%7 == 6 {
				list = append(list, nil)
				continue
			}
			s.Reset()
			s.Fold(&featurestore.Event{Position: featurestore.Position{Time: now - 9}, Values: []featurestore.Value{featurestore.IntValue(int64(i)), featurestore.FloatValue(float64(i) / 100)}})
			list = append(list, s.AppendRow(nil))
		}
	}
	return &Request{Candidates: n, Fields: [][]float64{{0.5}, nil}, Rows: list, Now: now}
}

// TestScoresAreTheNetworks compares the scores of more candidates than fit one run with
// the network computed by hand.
func TestScoresAreTheNetworks(t *testing.T) {
	s := newSet(t, strings.Replace(spec, "i.price,", "{from: i.price, default: -1},", 1))
	h, err := s.Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	const n = 2*batching.DefaultMaxRows + 17
	var res Result
	if err := h.Run(t.Context(), request(t, h, n), &res); err != nil {
		t.Fatal(err)
	}
	var input []float32
	for i := range n {
		row := []float32{4, float32(i) / 100, 1, 0.5}
		if i%7 == 6 {
			row = []float32{4, -1, 0, 0.5}
		}
		input = append(input, row...)
	}
	for i, want := range onnxtest.EvaluateMLP(widths, seed, input) {
		if math.Abs(float64(res.Scores[i])-want) > 1e-4*max(1, math.Abs(want)) {
			t.Fatalf("candidate %d scores %v, want %v", i, res.Scores[i], want)
		}
	}
	// The shared user counts once, however many runs the candidates take.
	if want := uint32(1 + 2*(n-n/7)); res.Statuses[featurestore.Present] != want {
		t.Errorf("%d values are PRESENT, want %d", res.Statuses[featurestore.Present], want)
	}
	if res.ReadTime != now || res.Newest != now-5 || res.Statuses[featurestore.NotFound] != 2*(n/7) || res.Statuses[featurestore.Defaulted] != 2*(n/7) {
		t.Errorf("read time %d, newest %d, statuses %v", res.ReadTime, res.Newest, res.Statuses)
	}
}

// TestRowsNewerThanTheClock: they are read just after their newest event, and give what they
// would give to a caller with a better clock.
func TestRowsNewerThanTheClock(t *testing.T) {
	s := newSet(t, spec)
	h, err := s.Find("ranker", 1)
	if err != nil {
		t.Fatal(err)
	}
	var early, late Result
	req := request(t, h, 3)
	if err := h.Run(t.Context(), req, &late); err != nil {
		t.Fatal(err)
	}
	req.Now = now - 1000
	if err := h.Run(t.Context(), req, &early); err != nil || early.ReadTime != req.Now || early.Newest != now-5 {
		t.Errorf("read at %d, newest event at %d, %v", early.ReadTime, early.Newest, err)
	}
	if !slices.Equal(early.Scores, late.Scores) {
		t.Errorf("scores are %v, want %v", early.Scores, late.Scores)
	}
}

func TestMissingWithoutDefaultIsRefused(t *testing.T) {
	s := newSet(t, spec)
	h, err := s.Find("ranker", 1)
	if err != nil {
		t.Fatal(err)
	}
	var known *featurestore.Error
	err = h.Run(t.Context(), request(t, h, 10), &Result{})
	if !errors.As(err, &known) || known.Code != featurestore.Invalid || !strings.Contains(err.Error(), `candidate 7: feature "i.price" is NOT_FOUND`) {
		t.Errorf("an unknown item without a default: %v", err)
	}
	if _, err := h.Predict(t.Context(), 1, map[string]Given{"u.age": {Numbers: []float64{1}}}); err == nil || !strings.Contains(err.Error(), `"i.price" is missing`) {
		t.Errorf("a missing column without a default: %v", err)
	}
}

// TestWhatIsNotThereYet reads rows of a store that is being filled: values are used as they
// are, and what is missing is not known yet.
func TestWhatIsNotThereYet(t *testing.T) {
	h, err := newSet(t, strings.Replace(spec, "i.price,", "{from: i.price, default: -1},", 1)).Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	var whole, res Result
	const items, unknown = 70, 10
	req := request(t, h, items)
	err = h.Run(t.Context(), req, &whole)
	req.Filling = true
	if err := errors.Join(err, h.Run(t.Context(), req, &res)); err != nil {
		t.Fatal(err)
	}
	want := [featurestore.Statuses]uint32{featurestore.Stale: 1 + 2*(items-unknown), featurestore.Filling: 2 * unknown, featurestore.Defaulted: 2 * unknown}
	if res.Statuses != want || !slices.Equal(res.Scores, whole.Scores) || slices.Max(res.Scores) == slices.Min(res.Scores) {
		t.Errorf("statuses %v, want %v; scores %v, want %v", res.Statuses, want, res.Scores, whole.Scores)
	}
}

func TestMissingWithoutDefaultMayComeWhileFilling(t *testing.T) {
	h, err := newSet(t, spec).Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	req := request(t, h, 10)
	req.Filling = true
	var known *featurestore.Error
	err = h.Run(t.Context(), req, &Result{})
	if !errors.As(err, &known) || known.Code != featurestore.Unavailable || !strings.Contains(err.Error(), `candidate 7: feature "i.price" is FILLING`) {
		t.Errorf("an item that may come: %v", err)
	}
}

func TestSpecsThatDoNotFitTheDefinitions(t *testing.T) {
	for want, change := range map[string][2]string{
		`"u.shoe" is not in feature service`: {"u.age", "u.shoe"},
		`no request field "mood"`:            {"request.hour", "request.mood"},
		`"u.name" is string`:                 {"u.age", "u.name"},
		`"m.title" is string`:                {"u.age", "m.title"},
		`request field "device" is string`:   {"request.hour", "request.device"},
	} {
		s := newSet(t, strings.Replace(spec, change[0], change[1], 1))
		if m := s.Models()[0]; m.Hop != nil || m.Problem == nil || !strings.Contains(m.Problem.Error(), want) {
			t.Errorf("%s: %v, want something with %s", change[1], m.Problem, want)
		}
		if _, err := s.Find("ranker", 0); err == nil {
			t.Errorf("%s: the model is served", change[1])
		}
	}
}

// TestRunAllocatesNothingForACandidate is a promise of the hot path.
func TestRunAllocatesNothingForACandidate(t *testing.T) {
	s := newSet(t, strings.Replace(spec, "i.price,", "{from: i.price, default: -1},", 1))
	h, err := s.Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	measure := func(n int) float64 {
		req, res := request(t, h, n), &Result{}
		run := func() {
			if err := h.Run(context.Background(), req, res); err != nil {
				t.Fatal(err)
			}
		}
		run() // what is seen again is remembered, and that takes memory once
		run()
		return testing.AllocsPerRun(50, run)
	}
	if few, many := measure(10), measure(250); many > few+1 { // a pool may be emptied meanwhile
		t.Errorf("%v allocations for 10 candidates, %v for 250", few, many)
	}
}

func BenchmarkRun(b *testing.B) {
	s := newSet(b, strings.Replace(spec, "i.price,", "{from: i.price, default: -1},", 1))
	h, err := s.Find("ranker", 0)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 100} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			req, res := request(b, h, n), &Result{}
			b.ReportAllocs()
			for b.Loop() {
				if err := h.Run(context.Background(), req, res); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
