package fold_test

import (
	"bytes"
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
)

// TestDeleteForgets folds events, a tombstone and more events: the row is that of the
// events after it, and without these there is none.
func TestDeleteForgets(t *testing.T) {
	view, err := storetest.View("test")
	if err != nil {
		t.Fatal(err)
	}
	events := storetest.NewLog(1, 40)[0]
	tombstone := featurestore.Event{Position: events[20].Position, Delete: true, Values: make([]featurestore.Value, 2)}
	state, want := view.Program.NewState(), view.Program.NewState()
	if !state.Empty() {
		t.Error("a new state is not empty")
	}
	for i := range events[:20] {
		state.Fold(&events[i])
	}
	if state.Empty() {
		t.Error("a state with events is empty")
	}
	state.Fold(&tombstone)
	if !state.Empty() || state.Newest() != 0 {
		t.Errorf("after the tombstone: empty is %v, newest %d", state.Empty(), state.Newest())
	}
	for i := range events[20:] {
		state.Fold(&events[20+i])
		want.Fold(&events[20+i])
	}
	if !bytes.Equal(state.AppendRow(nil), want.AppendRow(nil)) {
		t.Error("something of before the tombstone is left")
	}
}
