package fold

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

// TestSteadyRowsReadAlike: of a row that is said to be steady, every read gives the same until the end of that time, and for most ends
// there are rows that change right there.
func TestSteadyRowsReadAlike(t *testing.T) {
	changed := 0
	check := func(t *rapid.T) {
		view := testView(t)
		view.TTL = time.Duration(rapid.Int64Range(0, 1500).Draw(t, "ttl")) * time.Second
		program, _ := compileView(t, view)
		state, events := program.NewState(), drawEvents(t)
		for i := range events {
			state.Fold(&events[i])
		}
		steady := slices.DeleteFunc(view.Columns(), func(c featurestore.Column) bool {
			f := view.Features[c.Feature]
			return f.HalfLife > 0 || f.Exact > 0 || f.Aggregate == "last_n" || view.TTL > 0 && f.Where != ""
		})
		var some []string
		for _, c := range steady {
			if rapid.IntRange(0, 9).Draw(t, c.Name) == 0 {
				some = append(some, c.Name)
			}
		}
		reader, err := program.Reader(some)
		if err != nil {
			t.Fatal(err)
		}
		row := state.AppendRow(nil)
		now := newestTime(row) + rapid.Int64Range(-30, 2400).Draw(t, "now")*second + rapid.Int64Range(0, second).Draw(t, "µs")
		until := reader.SteadyUntil(row, now)
		if until == now {
			return // not known
		}
		if until < now {
			t.Fatalf("steady until %d µs before", now-until)
		}
		read := func(at int64) []featurestore.Cell {
			cells := make([]featurestore.Cell, len(some))
			if err := reader.Read(row, at, cells); err != nil {
				t.Fatal(err)
			}
			return cells
		}
		want, last := read(now), min(until-1, now+int64(4*time.Hour/time.Microsecond))
		for _, at := range []int64{last, now + rapid.Int64Range(0, last-now).Draw(t, "later")} {
			if diff := cmp.Diff(want, read(at)); diff != "" {
				t.Fatalf("steady until %d µs after, and different %d µs after:\n%s", until-now, at-now, diff)
			}
		}
		if until < math.MaxInt64 && !cmp.Equal(want, read(until)) {
			changed++
		}
	}
	for round := 0; changed == 0 && round < 10; round++ { // one of some hundred rounds draws no such row
		rapid.Check(t, check)
	}
	if changed == 0 {
		t.Error("no row changed at the end of its time")
	}
}

// TestSteadyIsKnownOfWindowsAndLatestValues: else nothing would ever be remembered.
func TestSteadyIsKnownOfWindowsAndLatestValues(t *testing.T) {
	program, _ := compileTest(t)
	state := program.NewState()
	at := int64(1_700_000_000) * second
	state.Fold(&featurestore.Event{Position: featurestore.Position{Time: at}, Values: []featurestore.Value{
		featurestore.IntValue(1), featurestore.IntValue(2), featurestore.FloatValue(3), {}, {},
	}})
	row := state.AppendRow(nil)
	for _, c := range []struct {
		columns []string
		want    int64
	}{
		{[]string{"price"}, math.MaxInt64},
		{[]string{"price", "count_2m"}, at + 10*second},
		{[]string{"count_lifetime"}, math.MaxInt64},
		{[]string{"count_lifetime", "fading"}, at + 1},
		{[]string{"last"}, at + 1},
		{[]string{"exact_count__90s"}, at + 1},
	} {
		if slices.ContainsFunc(c.columns, func(name string) bool {
			return !slices.ContainsFunc(program.view.Columns(), func(o featurestore.Column) bool { return o.Name == name })
		}) {
			t.Fatalf("no columns %v", c.columns)
		}
		reader, err := program.Reader(c.columns)
		if err != nil {
			t.Fatal(err)
		}
		if got := reader.SteadyUntil(row, at+1); got != c.want {
			t.Errorf("%v: steady until %d µs after the event, want %d", c.columns, got-at, c.want-at)
		}
	}
}
