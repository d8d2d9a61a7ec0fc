package inference

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

// memoDefinitions have windows that move on, values that expire, and values of one event.
var memoDefinitions = strings.NewReplacer(
	"{name: i, entity: item, source: items, features: [{name: price, aggregate: latest, field: price}, {name: n, aggregate: count, windows: [lifetime]}]}",
	"{name: i, entity: item, source: items, ttl: 1h, features: [{name: price, aggregate: latest, field: price}, {name: n, aggregate: count, windows: [{length: 5m, hop: 1m}]}]}",
).Replace(definitions)

const memoSpec = `
model: ranker
inputs:
  - tensor: features
    columns: [{from: u.age, default: 30}, {from: i.n_5m, default: 0}, {from: i.price, default: -1}, {from: request.hour, default: 12}]
output: scores
`

// shelf is a store of items for tests of the memo.
type shelf struct {
	program *fold.Program
	states  []*fold.State
	offset  int64
}

func newShelf(t testing.TB, h *Hop, items int) *shelf {
	t.Helper()
	programs, err := plan.Programs(h.Plan.Catalog)
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{program: programs["i"]}
	for range items {
		s.states = append(s.states, s.program.NewState())
	}
	return s
}

func (s *shelf) sell(item int, at int64, price featurestore.Value) {
	s.offset++
	s.states[item].Fold(&featurestore.Event{
		Position: featurestore.Position{Time: at, Offset: s.offset}, Values: []featurestore.Value{featurestore.IntValue(int64(item)), price},
	})
}

// request asks for items in some order, of a user who is not known.
func (s *shelf) request(h *Hop, at int64, items []int) *Request {
	req := &Request{Candidates: len(items), Now: at, Fields: make([][]float64, 2), Texts: make([][]string, 2)}
	for _, f := range h.Plan.Request {
		value := featurestore.FloatValue(22)
		if f.Name == "device" {
			value = featurestore.StringValue("phone")
		}
		req.Values = append(req.Values, []featurestore.Value{value})
	}
	var list rows
	for _, v := range h.Plan.Views {
		if v.Name == "u" {
			list = append(list, nil)
			continue
		}
		for _, item := range items {
			var row []byte
			if s.states[item].Newest() > 0 {
				row = s.states[item].AppendRow(nil)
			}
			list = append(list, row)
		}
	}
	req.Rows = list
	return req
}

// input assembles a request and returns the floats of its candidates with what was counted.
func input(t interface {
	Fatal(args ...any)
	Context() context.Context
}, h *Hop, slabs []slab, req *Request,
) ([]float32, *Result) {
	res := &Result{ReadTime: req.Now, strict: req.FailOnMissing}
	if err := req.prepare(h); err != nil {
		t.Fatal(err)
	}
	if err := h.assemble(t.Context(), req, res, slabs, 0, req.Candidates); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(slabs[0].floats[:req.Candidates*slabs[0].width]), res
}

// forgetful is a hop without memos.
func forgetful(h *Hop) *Hop {
	without := *h
	without.memos = make([]*memo, len(h.memos))
	return &without
}

func memoHop(t testing.TB) *Hop { return memoHopOf(t, memoSpec) }

func memoHopOf(t testing.TB, spec string) *Hop {
	t.Helper()
	h, err := newSetOf(t, memoDefinitions, onnxtest.MLP(widths, seed), spec).Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestRememberedRowsGiveWhatRowsGive: whatever happens between two requests, and however much time goes by, what is remembered is
// what decoding would give.
func TestRememberedRowsGiveWhatRowsGive(t *testing.T) { rememberedRowsGiveWhatRowsGive(t, memoHop(t)) }

// TestRowsBesideWhatIsComputed: rows that no on-demand feature is computed from are remembered, whatever else is computed, and those that
// one is computed from are not.
func TestRowsBesideWhatIsComputed(t *testing.T) {
	rememberedRowsGiveWhatRowsGive(t, memoHopOf(t, strings.Replace(memoSpec, "u.age, default: 30", "m.late", 1)))
	h := memoHopOf(t, strings.Replace(memoSpec, "u.age, default: 30", "m.per_age, default: 0", 1))
	for i, v := range h.Plan.Views {
		if h.memos[i] != nil {
			t.Errorf("rows of %s are remembered", v.Name)
		}
	}
}

func rememberedRowsGiveWhatRowsGive(t *testing.T, h *Hop) {
	t.Helper()
	without, slabs, hits := forgetful(h), h.Model.slabsOf(t), uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		h.remember() // anew
		s, at := newShelf(t, h, 6), now
		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				at += rapid.Int64Range(0, int64(90*time.Minute/time.Microsecond)).Draw(rt, "long")
			case 1:
				at += 60e6 - at%60e6 + rapid.Int64Range(-1, 1).Draw(rt, "edge") // of a hop
			case 2:
				price := featurestore.Value{}
				if rapid.Bool().Draw(rt, "known") {
					price = featurestore.FloatValue(rapid.Float64().Draw(rt, "price"))
				}
				s.sell(rapid.IntRange(0, 5).Draw(rt, "item"), at+rapid.Int64Range(-90e6, 1e6).Draw(rt, "late"), price)
			default:
				at += rapid.Int64Range(-1, 2).Draw(rt, "soon")
			}
			items := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 20).Draw(rt, "items")
			req := s.request(h, at, items)
			got, counted := input(rt, h, slabs, req)
			want, all := input(rt, without, slabs, req)
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("remembered otherwise than decoded:\n%s", diff)
			}
			if counted.Newest != all.Newest || counted.Statuses != all.Statuses {
				rt.Fatalf("newest %d and statuses %v; decoded %d and %v", counted.Newest, counted.Statuses, all.Newest, all.Statuses)
			}
		}
		found, _ := h.Remembered()
		hits += found
	})
	if hits == 0 {
		t.Error("nothing was remembered")
	}
}

// TestNothingIsRememberedAgainstOrders: a request that wants no defaults gets none, and one of a store that is being filled is told so.
func TestNothingIsRememberedAgainstOrders(t *testing.T) {
	h := memoHop(t)
	s, slabs := newShelf(t, h, 1), h.Model.slabsOf(t)
	s.sell(0, now-1, featurestore.Value{}) // no price
	req := s.request(h, now, []int{0})
	for range 3 {
		input(t, h, slabs, req)
	}
	if hits, _ := h.Remembered(); hits != 1 {
		t.Fatalf("%d rows were remembered, want that of the third request", hits)
	}
	strict := s.request(h, now, []int{0})
	strict.FailOnMissing = true
	strict.Fields[0] = []float64{1}
	var known *featurestore.Error
	if err := h.Run(t.Context(), strict, &Result{}); !errors.As(err, &known) || known.Code != featurestore.Invalid {
		t.Errorf("without defaults: %v", err)
	}
	filling := s.request(h, now, []int{0})
	filling.Filling = true
	if _, res := input(t, h, slabs, filling); res.Statuses[featurestore.Filling] == 0 {
		t.Errorf("while the store is filled: statuses %v", res.Statuses)
	}
}

// TestRowsThatComeOnceLeaveNothing, and a memo that finds nothing rests.
func TestRowsThatComeOnceLeaveNothing(t *testing.T) {
	h := memoHop(t)
	s, slabs := newShelf(t, h, 1), h.Model.slabsOf(t)
	items := make([]int, 256)
	for i := int64(1); i <= judgedRows/256; i++ {
		s.sell(0, now+i, featurestore.FloatValue(float64(i)))
		req := s.request(h, now+i, items[:1])
		list, _ := req.Rows.(rows)
		row := list[len(list)-1]
		list = list[:0]
		for _, v := range h.Plan.Views {
			if v.Name == "u" {
				list = append(list, nil)
				continue
			}
			for j := range items { // a row for each, by its stamp
				other := append([]byte(nil), row...)
				binary.LittleEndian.PutUint64(other, uint64(i)<<40|uint64(j)*0x1_0000_0001)
				list = append(list, other)
			}
		}
		req.Rows, req.Candidates = list, len(items)
		input(t, h, slabs, req)
	}
	m := h.memos[0]
	if m == nil {
		m = h.memos[1]
	}
	for i := range m.sets {
		for way := range m.sets[i].rows {
			if m.sets[i].rows[way].Load() != nil {
				t.Fatal("a row that came once was kept")
			}
		}
	}
	if m.on(256) {
		t.Error("a memo that finds nothing goes on")
	}
	for range restRows / 256 {
		m.on(256)
	}
	if !m.on(256) {
		t.Error("a memo that rested is not asked again")
	}
}

// TestRowsOfOneStampAreToldApart: what is remembered is found by a row's stamp, and given for its bytes.
func TestRowsOfOneStampAreToldApart(t *testing.T) {
	h := memoHop(t)
	s, slabs := newShelf(t, h, 2), h.Model.slabsOf(t)
	s.sell(0, now-1, featurestore.FloatValue(1))
	s.sell(1, now-1, featurestore.FloatValue(2))
	for range 3 {
		input(t, h, slabs, s.request(h, now, []int{0}))
	}
	req := s.request(h, now, []int{0, 1})
	list, _ := req.Rows.(rows)
	a, b := list[len(list)-2], list[len(list)-1] // the candidates' view may be the first
	if len(a) == 0 || len(b) == 0 {
		a, b = list[0], list[1]
	}
	copy(b[:8], a[:8])
	want, _ := input(t, forgetful(h), slabs, req)
	if got, _ := input(t, h, slabs, req); !slices.Equal(got, want) {
		t.Errorf("rows of one stamp: %v, want %v", got, want)
	}
}

// TestRememberedRowsKeepTheirBudget, and give back what they took when a hop is replaced.
func TestRememberedRowsKeepTheirBudget(t *testing.T) {
	h := memoHop(t)
	s, slabs := newShelf(t, h, 50), h.Model.slabsOf(t)
	items := make([]int, 50)
	for i := range items {
		items[i] = i
		s.sell(i, now-1, featurestore.FloatValue(float64(i)))
	}
	i := slices.IndexFunc(h.memos, func(m *memo) bool { return m != nil })
	m := h.memos[i]
	m.budget = &budget{most: 2000}
	for range 4 {
		input(t, h, slabs, s.request(h, now, items))
	}
	kept := m.budget.bytes.Load()
	if hits, _ := h.Remembered(); kept < 1000 || kept > 2000 || hits == 0 || kept != m.bytes.Load() {
		t.Errorf("%d bytes of 2,000 are kept, and gave %d rows", kept, hits)
	}
	before, _ := h.Remembered()
	for range 2 { // the hop that follows: each in its place, though there is no room for more
		input(t, h, slabs, s.request(h, now+90e6, items))
	}
	if hits, _ := h.Remembered(); hits == before || m.budget.bytes.Load() != kept || m.bytes.Load() != kept {
		t.Errorf("%d and %d bytes are kept instead of %d, and gave %d rows", m.budget.bytes.Load(), m.bytes.Load(), kept, hits-before)
	}
	m.bytes.Store(12345)
	all := memoBudget.bytes.Add(12345)
	h.memos = nil
	for deadline := time.Now().Add(10 * time.Second); memoBudget.bytes.Load() > all-12345; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("a memo that is gone holds its part of the budget")
		}
	}
}

// TestCallersShareWhatIsRemembered: many at once look up, keep and replace the same rows.
func TestCallersShareWhatIsRemembered(t *testing.T) {
	h := memoHop(t)
	without := forgetful(h)
	s := newShelf(t, h, 30)
	for item := range s.states {
		for n := range item {
			s.sell(item, now-int64(n)*50e6, featurestore.FloatValue(float64(item)))
		}
	}
	var all sync.WaitGroup
	for caller := range 8 {
		slabs := h.Model.slabsOf(t)
		random := rand.New(rand.NewPCG(1, uint64(caller)))
		var requests []*Request
		for range 50 {
			items := make([]int, 1+random.IntN(60))
			for i := range items {
				items[i] = random.IntN(len(s.states))
			}
			requests = append(requests, s.request(h, now+random.Int64N(200e6), items))
		}
		all.Go(func() {
			for _, req := range requests {
				got, _ := input(t, h, slabs, req)
				if want, _ := input(t, without, slabs, req); !slices.Equal(got, want) {
					t.Error("remembered otherwise than decoded")
				}
			}
		})
	}
	all.Wait()
	if hits, misses := h.Remembered(); hits == 0 || misses == 0 {
		t.Errorf("%d rows were found and %d not", hits, misses)
	}
}
