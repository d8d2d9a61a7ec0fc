package fold

import (
	"testing"

	"github.com/onehop/onehop/featurestore"
)

// TestReadAllocatesOnlyLists is a promise of the hot path: numbers cost no memory.
func TestReadAllocatesOnlyLists(t *testing.T) {
	p, _ := compileTest(t)
	var names []string
	for _, c := range p.view.Columns() {
		pooled := raceEnabled && p.view.Features[c.Feature].Exact > 0 // the detector empties pools at random
		if !c.Type.IsList() && !pooled {
			names = append(names, c.Name)
		}
	}
	r, err := p.Reader(names)
	if err != nil {
		t.Fatal(err)
	}
	s := p.NewState()
	for _, e := range goldenEvents() {
		s.Fold(&e)
	}
	row, cells := s.AppendRow(nil), make([]featurestore.Cell, len(names))
	at := s.Newest() + 1
	if n := testing.AllocsPerRun(100, func() {
		if err := r.Read(row, at, cells); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a row", n)
	}
}

// TestFoldAllocatesNothing: an event folded into an open row of numbers costs no memory.
func TestFoldAllocatesNothing(t *testing.T) {
	s, e := tenAggregates(t)
	if n := testing.AllocsPerRun(1000, func() {
		e.Offset++
		e.Time += second
		s.Fold(&e)
	}); n > 0 {
		t.Errorf("%v allocations an event", n)
	}
}
