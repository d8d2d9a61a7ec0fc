package switches

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/inference/traffic"
)

// TestRollbackPassesOverWhatNobodyTook: it goes to a state that was in force somewhere, past those that were refused by all or overtaken,
// and past those that are the same as what is switched.
func TestRollbackPassesOverWhatNobodyTook(t *testing.T) {
	s := open(t)
	refuse := func(c Change) *Switch {
		t.Helper()
		made := s.must(t, c)
		for _, instance := range []string{"a", "b"} {
			if err := s.record(t.Context(), instance, traffic.Outcome{Switch: made.ID, Problem: "there is no such version"}); err != nil {
				t.Fatal(err)
			}
		}
		return made
	}
	back := func(to *Switch) *Switch {
		t.Helper()
		made := s.taken(t, Change{Action: Rollback})
		if *made.BackTo != to.ID || !made.Traffic.Equal(to.Traffic) {
			t.Errorf("it went to switch %d, %+v; want %d", *made.BackTo, made.Traffic, to.ID)
		}
		return made
	}
	to := func(version string) Change { return Change{Action: Set, Traffic: traffic.Traffic{Default: version}} }
	refuse(to("7"))
	refuse(to("8"))
	back(&Switch{}) // before any switch
	one := s.taken(t, to("1"))
	two := refuse(to("2"))
	if err := s.record(t.Context(), "c", traffic.Outcome{Switch: two.ID}); err != nil {
		t.Fatal(err)
	}
	s.must(t, to("3")) // overtaken
	refuse(to("9"))
	refuse(to("8"))
	again := back(two) // which one of three took
	back(one)
	s.taken(t, to("1")) // once more
	again = back(again)
	s.taken(t, Change{Action: FromFile})
	back(again)
}

// TestWhatWasInForceBefore comes with a switch until an instance has taken that.
func TestWhatWasInForceBefore(t *testing.T) {
	s := open(t)
	want := func(switched *Switch, before *traffic.Traffic) {
		t.Helper()
		live, err := s.current(t.Context(), s.pool)
		if diff := cmp.Diff(traffic.Live{Switch: switched.ID, Traffic: switched.Traffic, Before: before}, live["ranker"]); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	record := func(made *Switch, problem string) {
		t.Helper()
		if err := s.record(t.Context(), "a", traffic.Outcome{Switch: made.ID, Problem: problem}); err != nil {
			t.Fatal(err)
		}
	}
	first := s.must(t, Change{Action: Set, Traffic: traffic.Traffic{Default: "1"}})
	want(first, &traffic.Traffic{}) // the serving.yaml alone
	record(first, "")
	want(first, nil)
	second := s.must(t, Change{Action: Set, Traffic: traffic.Traffic{Default: "9"}})
	want(second, &first.Traffic)
	record(second, "there is no such version")
	want(second, &first.Traffic)
	third := s.must(t, Change{Action: Set, Traffic: traffic.Traffic{Default: "8"}})
	want(third, &first.Traffic)
	record(third, "there is no such version")
	record(third, "") // which came
	want(third, nil)
	fourth := s.must(t, Change{Action: Set, Traffic: traffic.Traffic{Default: "8"}}) // the same
	record(fourth, "there is no such version")                                       // which has gone again
	want(fourth, &third.Traffic)
	over := s.must(t, Change{Action: Set, Traffic: canary(5)})
	if !over.Was.Equal(third.Traffic) || over.Traffic.Default != "8" {
		t.Errorf("laid over %+v it is %+v", over.Was, over.Traffic)
	}
	if live, err := New(s.pool, "other").current(t.Context(), s.pool); err != nil || len(live) > 0 {
		t.Errorf("of another namespace: %v, %v", live, err)
	}
}

// TestRollbackOfWhatWasNeverOtherwise: where no other state was in force there is none to go back to, and nothing is stored.
func TestRollbackOfWhatWasNeverOtherwise(t *testing.T) {
	s := open(t)
	s.must(t, Change{Action: Set, Traffic: canary(5)}) // overtaken
	s.taken(t, Change{Action: FromFile})
	if made, err := s.Switch(t.Context(), Change{Model: "ranker", Action: Rollback, Who: "ada"}); !errors.Is(err, ErrNothing) {
		t.Errorf("%+v, %v", made, err)
	}
	if history, err := s.History(t.Context(), "ranker", 10); err != nil || len(history) != 2 {
		t.Errorf("%d switches, %v", len(history), err)
	}
}

// TestASwitchAfterARefusedOne: it is laid over what is in force, and over what nobody has spoken of yet; a mistake does not come back with it.
func TestASwitchAfterARefusedOne(t *testing.T) {
	s := open(t)
	refuse := func(c Change) {
		t.Helper()
		if err := s.record(t.Context(), "a", traffic.Outcome{Switch: s.must(t, c).ID, Problem: "there is no such version"}); err != nil {
			t.Fatal(err)
		}
	}
	alias := func(name string, version int64) Change {
		return Change{Action: Set, Traffic: traffic.Traffic{Aliases: map[string]int64{name: version}}}
	}
	want := func(made *Switch, want traffic.Traffic) {
		t.Helper()
		if !made.Traffic.Equal(want) {
			t.Errorf("%+v, want %+v", made.Traffic, want)
		}
	}
	refuse(alias("x", 99))
	want(s.taken(t, alias("one", 1)), traffic.Traffic{Aliases: map[string]int64{"one": 1}})
	refuse(alias("x", 99))
	refuse(Change{Action: Set, Traffic: traffic.Traffic{Default: "7"}})
	two := s.must(t, alias("two", 2)) // not heard of yet
	want(two, traffic.Traffic{Aliases: map[string]int64{"one": 1, "two": 2}})
	if one := (traffic.Traffic{Aliases: map[string]int64{"one": 1}}); !two.Was.Equal(one) {
		t.Errorf("%+v is said to have been in force, want %+v", two.Was, one)
	}
	made := s.must(t, Change{Action: Set, Traffic: traffic.Traffic{Default: "2"}})
	want(made, traffic.Traffic{Default: "2", Aliases: map[string]int64{"one": 1, "two": 2}})
	if err := s.record(t.Context(), "a", traffic.Outcome{Switch: made.ID, Problem: "there is no such version"}); err != nil {
		t.Fatal(err)
	}
	if err := s.record(t.Context(), "b", traffic.Outcome{Switch: made.ID}); err != nil {
		t.Fatal(err)
	}
	want(s.must(t, alias("three", 3)), traffic.Traffic{Default: "2", Aliases: map[string]int64{"one": 1, "two": 2, "three": 3}}) // which one took
}
