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
		if !c.Type.IsList() {
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
