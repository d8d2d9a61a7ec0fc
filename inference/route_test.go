package inference

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/traffic"
)

// ships is a repository that the test changes, and the set that serves it.
type ships struct {
	*Set
	t   testing.TB
	dir string
}

// newShips has the versions 1 and 2 of the ranker, defined and served.
func newShips(t testing.TB) *ships {
	t.Helper()
	dir := t.TempDir()
	repo, err := repository.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &ships{t: t, dir: dir, Set: NewSet(onnxtest.Open(t), repo, slog.New(slog.DiscardHandler))}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.ship(1, 1)
	s.ship(2, 2)
	catalog, err := definition.Parse([]definition.File{{Name: "d.yaml", Text: []byte(definitions)}})
	if err != nil {
		t.Fatal(err)
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		t.Fatal(err)
	}
	s.Define(catalog, programs)
	s.look()
	return s
}

// restart is another set over the same repository, which does what a service does when it starts.
func (s *ships) restart(live map[string]traffic.Live) {
	s.t.Helper()
	catalog, programs := s.catalog, s.programs
	if err := s.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.Set = NewSet(s.runtime, s.repo, s.log)
	s.begin(catalog, programs, live)
}

func (s *ships) begin(catalog *featurestore.Catalog, programs map[string]*fold.Program, live map[string]traffic.Live) {
	s.t.Helper()
	if err := s.Refresh(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.Pick(Want{Model: "ranker"}); !errors.Is(err, errStarting) {
		s.t.Errorf("before there are definitions: %v", err)
	}
	s.Steer(live)
	s.Define(catalog, programs)
}

func (s *ships) put(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, "ranker", name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path))
	if err != nil {
		s.t.Fatal(err)
	}
}

// ship puts a version into the repository.
func (s *ships) ship(version int, seed uint64) {
	s.t.Helper()
	at := strconv.Itoa(version)
	s.put(filepath.Join(at, "model.onnx"), string(onnxtest.MLP(widths, seed)))
	s.put(filepath.Join(at, "model.yaml"), strings.Replace(spec, "i.price,", "{from: i.price, default: -1},", 1))
}

func (s *ships) look() *Route {
	s.t.Helper()
	if err := s.Refresh(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return s.Routes()[0]
}

// key is that of a user, or of an entity that the caller does not bring.
func key(user int) func(*featurestore.Entity) ([]byte, error) {
	return func(e *featurestore.Entity) ([]byte, error) {
		if e.Name != "user" {
			return nil, featurestore.Errorf(featurestore.Invalid, "no key of %s", e.Name)
		}
		return e.AppendKey(nil, []featurestore.Value{featurestore.IntValue(int64(user))})
	}
}

// shares picks for many users and counts "version variant", in percent.
func (s *ships) shares(users int) map[string]float64 {
	s.t.Helper()
	counts := map[string]float64{}
	for user := range users {
		p, err := s.Pick(Want{Model: "ranker", Key: key(user)})
		if err != nil {
			s.t.Fatal(err)
		}
		counts[strconv.Itoa(p.Model.Number)+" "+p.Variant] += 100 / float64(users)
		if p.Shadow > 0 {
			counts["shadow "+strconv.FormatInt(p.Shadow, 10)] += 100 / float64(users)
		}
		p.Release()
	}
	return counts
}

func (s *ships) wantShares(want map[string]float64) {
	s.t.Helper()
	const users = 20_000
	got := s.shares(users)
	for what, percent := range want {
		if math.Abs(got[what]-percent) > 1.5 { // over four standard deviations
			s.t.Errorf("%s has %.2f percent, want %v", what, got[what], percent)
		}
	}
	if len(got) != len(want) {
		s.t.Errorf("answers are %v, want %v", got, want)
	}
}

func TestServingDecides(t *testing.T) {
	s := newShips(t)
	s.wantShares(map[string]float64{"2 default": 100})
	s.put("serving.yaml", "default: stable\naliases: {stable: 1, next: 2}\ntraffic: {canary: {version: next, percent: 20}}\nshadow: {version: 2, percent: 50}\n")
	if r := s.look(); r.Problem != nil || !r.File {
		t.Fatalf("%+v", r)
	}
	s.wantShares(map[string]float64{"1 default": 80, "2 canary": 20, "shadow 2": 40})
	for want, ask := range map[string]Want{
		"1 pinned":                            {Version: 1, Key: key(1)},
		"2 pinned":                            {Alias: "next", Key: key(1)},
		"1 default":                           {}, // Predict has no key
		`model "ranker" has no version 7`:     {Version: 7},
		`model "ranker" has no alias "other"`: {Alias: "other"},
		"are both given":                      {Version: 1, Alias: "next"},
		`there is no model "x"`:               {Model: "x"},
	} {
		if ask.Model == "" {
			ask.Model = "ranker"
		}
		p, err := s.Pick(ask)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %s", ask, err, want)
			}
			continue
		}
		if got := strconv.Itoa(p.Model.Number) + " " + p.Variant; got != want || p.Shadow != 0 {
			t.Errorf("a request for %+v is answered by %s, shadow %d; want %s and none", ask, got, p.Shadow, want)
		}
		p.Release()
	}
	s.put("serving.yaml", "traffic: {ab: {by: user, variants: [{name: a, version: 1, percent: 30}, {name: b, version: 2, percent: 70}]}}")
	s.look()
	s.wantShares(map[string]float64{"1 a": 30, "2 b": 70})
	first, second := s.variants(500), s.variants(500)
	for user := range first {
		if first[user] != second[user] {
			t.Fatalf("user %d moved from %s to %s", user, first[user], second[user])
		}
	}
}

func (s *ships) variants(users int) []string {
	s.t.Helper()
	var variants []string
	for user := range users {
		p, err := s.Pick(Want{Model: "ranker", Key: key(user)})
		if err != nil {
			s.t.Fatal(err)
		}
		variants = append(variants, p.Variant)
		p.Release()
	}
	return variants
}

// TestWhatCannotBeFollowedLeavesWhatWas: traffic that names what is not there, or is no traffic at all, is told, and
// the one before stays.
func TestWhatCannotBeFollowedLeavesWhatWas(t *testing.T) {
	s := newShips(t)
	s.put("serving.yaml", "default: 1\ntraffic: {canary: {version: 2, percent: 20}}")
	s.look()
	for says, text := range map[string]string{
		`canary: model "ranker" has no version 9`:  "default: 2\ntraffic: {canary: {version: 9, percent: 5}}",
		`shadow: there is no alias "new"`:          "default: 2\nshadow: {version: new, percent: 5}",
		`default: model "ranker" has no version 3`: "default: 3",
		`bring no key of entity "item"`:            "traffic: {ab: {by: item, variants: [{name: a, version: 1, percent: 50}, {name: b, version: 2, percent: 50}]}}",
		`serving.yaml:1:10: want a version`:        "default: [1]",
	} {
		s.put("serving.yaml", text)
		if r := s.look(); r.Problem == nil || !strings.Contains(r.Problem.Error(), says) || r.RestInForce {
			t.Errorf("%s: %v, want %s", text, r.Problem, says)
		}
		s.wantShares(map[string]float64{"1 default": 80, "2 canary": 20})
	}
	s.put("serving.yaml", "default: 1\naliases: {old: 1, next: 3}")
	if r := s.look(); r.Problem == nil || !strings.Contains(r.Problem.Error(), "alias next: ") || !r.RestInForce {
		t.Errorf("an alias of nothing: %+v", r)
	}
	s.wantShares(map[string]float64{"1 default": 100})
	s.put("serving.yaml", "default: 9") // what stays in force may lack an alias too
	if r := s.look(); r.Problem == nil || !strings.Contains(r.Problem.Error(), "has no version 9") || r.RestInForce {
		t.Errorf("%+v", r)
	}
	s.wantShares(map[string]float64{"1 default": 100})
	s.put("serving.yaml", "default: 1\naliases: {old: 1, next: 3}")
	s.ship(3, 3)
	if r := s.look(); r.Problem != nil {
		t.Errorf("the version came, and %v", r.Problem)
	}
}

// TestReplacedAndRemovedVersions: a bad file leaves the model of before in service and is told; a good one
// replaces it, and a model is closed when the last request has given it back.
func TestReplacedAndRemovedVersions(t *testing.T) {
	s := newShips(t)
	s.put("2/model.onnx", "this is no model")
	s.look()
	if m := s.Models()[1]; m.Hop == nil || m.Problem == nil || !strings.Contains(m.Problem.Error(), "were not taken") {
		t.Fatalf("%+v", m)
	}
	s.put("2/model.yaml", strings.Replace(spec, "u.age", "u.shoe", 1))
	s.put("2/model.onnx", string(onnxtest.MLP(widths, 23)))
	s.look()
	if m := s.Models()[1]; m.Hop == nil || m.Problem == nil || !strings.Contains(m.Problem.Error(), `"u.shoe" is not in feature service`) {
		t.Fatalf("%+v", m)
	}
	held, err := s.Find("ranker", 2)
	if err != nil {
		t.Fatal(err)
	}
	s.ship(2, 22)
	s.look()
	s.look()
	if m := s.Models()[1]; m.Problem != nil || m.Hop.Model == held.Model || len(s.retired) != 1 {
		t.Fatalf("%+v, %d retired", m, len(s.retired))
	}
	var res Result
	if err := held.Run(t.Context(), request(t, held, 3), &res); err != nil {
		t.Errorf("a request that has the old model: %v", err)
	}
	held.Release()
	s.look()
	if held.Model.enter() || len(s.retired) != 0 {
		t.Error("a model that nobody has is not closed")
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "ranker", "2")); err != nil {
		t.Fatal(err)
	}
	s.look()
	s.wantShares(map[string]float64{"1 default": 100})
}

// TestWarmKeepsOut: a version that fails its trial is not served, and is tried once only when it passes.
func TestWarmKeepsOut(t *testing.T) {
	s := newShips(t)
	tried := 0
	s.Warm = func(h *Hop) error {
		tried++
		if h.Model.Number == 3 {
			return errors.New("it crashed")
		}
		return nil
	}
	s.ship(3, 3)
	s.look()
	if m := s.Models()[2]; m.Hop != nil || !strings.Contains(m.Problem.Error(), "it crashed") {
		t.Errorf("%+v", m)
	}
	s.wantShares(map[string]float64{"2 default": 100})
	s.ship(4, 4)
	s.look()
	s.wantShares(map[string]float64{"4 default": 100})
	if tried != 1+2 { // 3; then 3 again, which may have come right, and 4
		t.Errorf("%d trials, want 3", tried)
	}
}

func BenchmarkPick(b *testing.B) {
	s := newShips(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, err := s.Pick(Want{Model: "ranker"})
			if err != nil {
				b.Error(err)
				return
			}
			p.Release()
		}
	})
}

// BenchmarkUse is what counting the uses of a model costs a request.
func BenchmarkUse(b *testing.B) {
	m := &Model{}
	for b.Loop() {
		if !m.enter() {
			b.Fatal("shut")
		}
		m.leave()
	}
}

// TestASwitchWaitsForNoLookOrTrial: a look at the repository may load a large model, and a trial may wait for a Redis that hangs.
func TestASwitchWaitsForNoLookOrTrial(t *testing.T) {
	s := newShips(t)
	began, end := make(chan struct{}), make(chan struct{})
	s.Warm = func(*Hop) error {
		close(began)
		<-end
		return nil
	}
	s.ship(3, 3)
	looked := make(chan error, 1)
	go func() { looked <- s.Refresh(t.Context()) }()
	<-began
	switched := make(chan struct{})
	go func() {
		defer close(switched)
		s.Steer(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: traffic.Traffic{Default: "1"}}})
	}()
	select {
	case <-switched:
	case <-time.After(10 * time.Second):
		close(end)
		t.Fatal("a switch waits for a trial")
	}
	if m := s.Models()[2]; m.Hop != nil || !errors.Is(m.Problem, errNotYet) {
		t.Errorf("in its trial: %+v", m)
	}
	close(end)
	if err := <-looked; err != nil {
		t.Error(err)
	}
	s.wantShares(map[string]float64{"1 default": 100})
	if m := s.Models()[2]; m.Hop == nil {
		t.Errorf("after its trial: %+v", m)
	}
}
