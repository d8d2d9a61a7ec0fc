package inference

import (
	"errors"
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/traffic"
)

// TestSteerLiesOverTheFile: what was switched by hand replaces its part of the serving.yaml until it is taken back.
func TestSteerLiesOverTheFile(t *testing.T) {
	s := newShips(t)
	s.put("serving.yaml", "default: 1\ntraffic: {canary: {version: 2, percent: 20}}")
	s.look()
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 7, Traffic: traffic.Traffic{Split: &traffic.Split{}}}})
	s.wantShares(map[string]float64{"1 default": 100})
	if r := s.Routes()[0]; r.Switch != 7 || r.Problem != nil {
		t.Errorf("%+v", r)
	}
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 8, Traffic: traffic.Traffic{Default: "5"}}})
	if r := s.Routes()[0]; r.Switch != 8 || r.Problem == nil || r.Traffic.Default != "1" {
		t.Errorf("%+v", r)
	}
	s.wantShares(map[string]float64{"1 default": 100})
	s.Steer(nil)
	s.wantShares(map[string]float64{"1 default": 80, "2 canary": 20})
}

// TestCheckLooksAtWhatIsSwitched: what could not be followed with what is switched already is told before it is switched, but a switch that was
// refused stands in nobody's way; and an alias that came with it can be taken away, as can one that is served.
func TestCheckLooksAtWhatIsSwitched(t *testing.T) {
	s := newShips(t)
	s.put("serving.yaml", "default: 1\naliases: {stable: 1}")
	s.look()
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: traffic.Traffic{Default: "9", Aliases: map[string]int64{"x": 2}}}})
	for says, over := range map[string]traffic.Traffic{
		"":                            {Default: "2", Aliases: map[string]int64{"x": 0, "stable": 0}},
		"there is no alias \"y\"":     {Default: "2", Aliases: map[string]int64{"y": 0}},
		"\"ranker\" has no version 8": {Split: &traffic.Split{Canary: &traffic.Share{Version: "8", Percent: 5}}},
	} {
		if err := s.Check("ranker", over); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", over, err, says)
		}
	}
	right := traffic.Traffic{Split: &traffic.Split{Canary: &traffic.Share{Version: "2", Percent: 5}}}
	if err := s.Check("ranker", right); err != nil {
		t.Errorf("after a refused switch: %v", err)
	}
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 2, Traffic: traffic.Traffic{Shadow: &traffic.Share{Version: "stable", Percent: 5}}}})
	if err := s.Check("ranker", traffic.Traffic{Aliases: map[string]int64{"stable": 0}}); err == nil {
		t.Error("an alias was taken away that the shadow needs, which was switched")
	}
}

// TestASwitchBesideAnAliasOfNothing: one that stands in the file stops no switch and is not its refusal; one that is switched is.
func TestASwitchBesideAnAliasOfNothing(t *testing.T) {
	s := newShips(t)
	s.put("serving.yaml", "default: 1\naliases: {next: 7}")
	s.look()
	right := traffic.Traffic{Default: "2"}
	if err := s.Check("ranker", right); err != nil {
		t.Error(err)
	}
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: right}})
	s.wantShares(map[string]float64{"2 default": 100})
	if o := s.Outcomes()["ranker"]; o.Problem != "" || o.Switch != 1 {
		t.Errorf("a switch that is in force: %+v", o)
	}
	wrong := traffic.Traffic{Aliases: map[string]int64{"old": 8}}
	if err := s.Check("ranker", wrong); err == nil || !strings.Contains(err.Error(), "alias old: ") || strings.Contains(err.Error(), "next") {
		t.Errorf("%v", err)
	}
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 2, Traffic: wrong}})
	if o := s.Outcomes()["ranker"]; o.Problem != `alias old: model "ranker" has no version 8` {
		t.Errorf("an alias of nothing that is switched: %+v", o)
	}
}

// TestASwitchIsTakenAsAWhole: with an alias of nothing nothing of it is, also when it is looked at again; what it lacked may come, and go.
func TestASwitchIsTakenAsAWhole(t *testing.T) {
	s := newShips(t)
	s.look()
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: traffic.Traffic{Default: "2"}}})
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 2, Traffic: traffic.Traffic{Default: "1", Aliases: map[string]int64{"next": 3}}}})
	for _, file := range []string{"aliases: {old: 1}", "aliases: {old: 2}"} { // so that it is looked at again
		s.wantShares(map[string]float64{"2 default": 100})
		s.put("serving.yaml", file)
		if r := s.look(); r.Problem == nil || r.RestInForce || s.Outcomes()["ranker"].Problem == "" {
			t.Errorf("%+v", r)
		}
	}
	s.ship(3, 3)
	s.look()
	s.wantShares(map[string]float64{"1 default": 100})
	if o := s.Outcomes()["ranker"]; o.Problem != "" {
		t.Errorf("when the version is there: %+v", o)
	}
	s.remove("3")
	if r := s.look(); !r.RestInForce {
		t.Errorf("when it has gone: %+v", r)
	}
	s.wantShares(map[string]float64{"1 default": 100})
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 3, Traffic: traffic.Traffic{Default: "2", Aliases: map[string]int64{"next": 3}}}})
	s.wantShares(map[string]float64{"2 default": 100}) // the alias was there before, and stops no other switch
	if o := s.Outcomes()["ranker"]; o.Switch != 3 || o.Problem != "" {
		t.Errorf("a switch that is in force: %+v", o)
	}
}

// TestAfterAStartWhatIsSureIsServed: with no state before, a share that cannot be followed is left off, and a default
// version that is not there is not replaced by another.
func TestAfterAStartWhatIsSureIsServed(t *testing.T) {
	s := newShips(t)
	s.live = map[string]traffic.Live{"ranker": {Traffic: traffic.Traffic{Default: "1", Split: &traffic.Split{Canary: &traffic.Share{Version: "9", Percent: 50}}}}}
	if r := s.route(s.Models(), nil); r.Problem == nil || r.canary != nil || r.standard == nil || r.standard.Number != 1 {
		t.Errorf("%+v", r)
	}
	ab := &traffic.AB{By: "user", Variants: []traffic.Variant{{Name: "a", Version: "1", Percent: 50}, {Name: "b", Version: "9", Percent: 50}}}
	s.live = map[string]traffic.Live{"ranker": {Traffic: traffic.Traffic{Split: &traffic.Split{AB: ab}}}}
	if r := s.route(s.Models(), nil); r.Problem == nil || r.by != nil || r.Traffic.Split != nil || r.standard.Number != 2 {
		t.Errorf("%+v", r)
	}
	s.live = map[string]traffic.Live{"ranker": {Traffic: traffic.Traffic{Default: "9"}}}
	if r := s.route(s.Models(), nil); r.Problem == nil || r.standard != nil {
		t.Errorf("%+v", r)
	}
}

// TestAfterAStartWhatWasBeforeIsServed: a switch that no instance took does not come into force by a start, whole or in part; nor does what was
// before it where that cannot be followed any more.
func TestAfterAStartWhatWasBeforeIsServed(t *testing.T) {
	s := newShips(t)
	canary := func(version string) *traffic.Split {
		return &traffic.Split{Canary: &traffic.Share{Version: version, Percent: 20}}
	}
	start := func(wanted traffic.Traffic, before *traffic.Traffic) {
		s.restart(map[string]traffic.Live{"ranker": {Switch: 2, Traffic: wanted, Before: before}})
	}
	refused := func(want string) {
		t.Helper()
		if o := s.Outcomes()["ranker"]; o.Switch != 2 || !strings.Contains(o.Problem, want) {
			t.Errorf("%+v, want %s", o, want)
		}
	}
	start(traffic.Traffic{Default: "9"}, &traffic.Traffic{Default: "1", Split: canary("2")})
	s.wantShares(map[string]float64{"1 default": 80, "2 canary": 20})
	refused("has no version 9")
	start(traffic.Traffic{Split: canary("9")}, &traffic.Traffic{Default: "1"})
	s.wantShares(map[string]float64{"1 default": 100})
	refused("has no version 9")
	start(traffic.Traffic{Default: "2", Aliases: map[string]int64{"next": 9}}, &traffic.Traffic{Default: "1"})
	s.wantShares(map[string]float64{"1 default": 100})
	refused("alias next: ")
	s.put("serving.yaml", "default: 1")
	s.look()
	start(traffic.Traffic{Default: "9"}, &traffic.Traffic{})
	s.wantShares(map[string]float64{"1 default": 100})
	start(traffic.Traffic{Default: "9"}, &traffic.Traffic{Default: "8"})
	if _, err := s.Pick(Want{Model: "ranker"}); err == nil || !strings.Contains(err.Error(), "its default is version 8") {
		t.Errorf("neither is there: %v", err)
	}
	start(traffic.Traffic{Default: "2"}, &traffic.Traffic{Default: "1"})
	s.wantShares(map[string]float64{"2 default": 100})
	if o := s.Outcomes()["ranker"]; o.Problem != "" {
		t.Errorf("what was refused elsewhere can be followed here: %+v", o)
	}
}

// TestAStartServesWhatSomebodyChose: a taken switch whose version has gone, or cannot be loaded, leaves the default version that it or the
// serving.yaml names, and none where that is gone: not the newest, which nobody chose, and which is what there was before the switches were read.
func TestAStartServesWhatSomebodyChose(t *testing.T) {
	s := newShips(t)
	s.ship(3, 3)
	ab := &traffic.AB{By: "user", Variants: []traffic.Variant{{Name: "old", Version: "1", Percent: 50}, {Name: "new", Version: "9", Percent: 50}}}
	for _, file := range []string{"", "aliases: {stable: 1}"} {
		s.put("serving.yaml", file)
		for name, wanted := range map[string]traffic.Traffic{
			"canary": {Default: "1", Split: &traffic.Split{Canary: &traffic.Share{Version: "9", Percent: 10}}},
			"ab":     {Default: "1", Split: &traffic.Split{AB: ab}},
			"shadow": {Default: "1", Shadow: &traffic.Share{Version: "9", Percent: 10}},
		} {
			s.restart(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: wanted}})
			s.wantShares(map[string]float64{"1 default": 100})
			s.look()
			s.wantShares(map[string]float64{"1 default": 100})
			if o := s.Outcomes()["ranker"]; o.Problem == "" {
				t.Errorf("%s: nothing is told", name)
			}
			s.Steer(map[string]traffic.Live{"ranker": {Switch: 2, Traffic: traffic.Traffic{Default: "8"}}})
			s.wantShares(map[string]float64{"1 default": 100}) // what was in force stays, though it was a part only
		}
		s.restart(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: traffic.Traffic{Default: "9"}}})
		for range 2 {
			if p, err := s.Pick(Want{Model: "ranker"}); err == nil {
				t.Errorf("version %d is served", p.Model.Number)
				p.Release()
			}
			s.look()
		}
	}
}

// TestWhatATakenSwitchLosesLeavesItsDefault: a version that goes away while it has a share leaves the default version of that switch in force, not
// that of the state before it, of which the instance still knows; and that stays when the next switch cannot be followed.
func TestWhatATakenSwitchLosesLeavesItsDefault(t *testing.T) {
	s := newShips(t)
	s.ship(3, 3)
	s.look()
	shared := traffic.Traffic{Default: "1", Split: &traffic.Split{Canary: &traffic.Share{Version: "3", Percent: 50}}}
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: shared, Before: &traffic.Traffic{Default: "2"}}})
	s.wantShares(map[string]float64{"1 default": 50, "3 canary": 50})
	s.remove("3")
	for _, file := range []string{"", "aliases: {old: 1}", "aliases: {old: 2}"} { // so that it is looked at again
		s.put("serving.yaml", file)
		s.look()
		s.wantShares(map[string]float64{"1 default": 100})
	}
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 2, Traffic: traffic.Traffic{Default: "9"}, Before: &shared}})
	s.wantShares(map[string]float64{"1 default": 100})
	s.ship(3, 3)
	s.look()
	s.wantShares(map[string]float64{"1 default": 50, "3 canary": 50})
	if o := s.Outcomes()["ranker"]; o.Switch != 2 || !strings.Contains(o.Problem, "has no version 9") {
		t.Errorf("%+v", o)
	}
}

// TestWhatIsInForceLosesAVersion: one that had a share, while a switch that was refused is wanted. What was in force keeps its default version, here
// and after a start, and has all of it again when the version comes back; the refused switch has no say, whatever of it could be followed.
func TestWhatIsInForceLosesAVersion(t *testing.T) {
	for _, refused := range []traffic.Traffic{
		{Default: "9"},
		{Default: "2", Shadow: &traffic.Share{Version: "9", Percent: 10}},
		{Default: "2", Aliases: map[string]int64{"next": 9}},
	} {
		s := newShips(t)
		s.ship(3, 3)
		s.put("serving.yaml", "default: 1")
		s.look()
		canary := traffic.Traffic{Split: &traffic.Split{Canary: &traffic.Share{Version: "3", Percent: 50}}}
		s.Steer(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: canary}})
		s.wantShares(map[string]float64{"1 default": 50, "3 canary": 50})
		live := map[string]traffic.Live{"ranker": {Switch: 2, Traffic: refused, Before: &canary}}
		s.Steer(live)
		s.wantShares(map[string]float64{"1 default": 50, "3 canary": 50})
		s.remove("3")
		for _, again := range []func(){func() { s.look() }, func() { s.Steer(live) }, func() { s.restart(live) }} {
			again()
			s.wantShares(map[string]float64{"1 default": 100})
			if o := s.Outcomes()["ranker"]; !strings.Contains(o.Problem, "no version 9; and of what was in force before: canary: model \"ranker\" has no version 3") {
				t.Errorf("%+v", o)
			}
		}
		s.ship(3, 3)
		s.look()
		s.wantShares(map[string]float64{"1 default": 50, "3 canary": 50})
	}
}

// TestAFileComesIntoForceUnderWhatIsSwitched, whatever that has lost, and also while a switch is refused; here as after a start.
func TestAFileComesIntoForceUnderWhatIsSwitched(t *testing.T) {
	s := newShips(t)
	s.ship(3, 3)
	s.put("serving.yaml", "default: 1")
	s.look()
	canary := traffic.Traffic{Split: &traffic.Split{Canary: &traffic.Share{Version: "3", Percent: 50}}}
	taken := map[string]traffic.Live{"ranker": {Switch: 1, Traffic: canary}}
	refused := map[string]traffic.Live{"ranker": {Switch: 2, Traffic: traffic.Traffic{Default: "9"}, Before: &canary}}
	s.Steer(taken)
	s.remove("3")
	for _, live := range []map[string]traffic.Live{taken, refused} {
		s.put("serving.yaml", "default: 1")
		s.look()
		s.Steer(live)
		s.wantShares(map[string]float64{"1 default": 100})
		s.put("serving.yaml", "default: 2")
		for _, again := range []func(){func() { s.look() }, func() { s.Steer(live) }, func() { s.restart(live) }} {
			again()
			s.wantShares(map[string]float64{"2 default": 100})
			if o := s.Outcomes()["ranker"]; !strings.Contains(o.Problem, "has no version") {
				t.Errorf("%+v", o)
			}
		}
	}
	s.ship(3, 3)
	s.look()
	s.wantShares(map[string]float64{"2 default": 50, "3 canary": 50})
}

// TestABadFileHoldsUpNoSwitch: one that cannot be followed or read is told, and what is switched lies over the one before.
func TestABadFileHoldsUpNoSwitch(t *testing.T) {
	s := newShips(t)
	s.ship(3, 3)
	s.put("serving.yaml", "default: 1\naliases: {next: 3}")
	s.look()
	for i, text := range []string{"default: 9", "default: ["} {
		s.put("serving.yaml", text)
		s.look()
		next := traffic.Traffic{Split: &traffic.Split{Canary: &traffic.Share{Version: "next", Percent: float64(20 + 10*i)}}}
		if err := errors.Join(s.Check("ranker", next), s.CheckState("ranker", next)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		s.Steer(map[string]traffic.Live{"ranker": {Switch: int64(i), Traffic: next}})
		s.wantShares(map[string]float64{"1 default": float64(80 - 10*i), "3 canary": float64(20 + 10*i)})
		if o, r := s.Outcomes()["ranker"], s.Routes()[0]; o.Problem != "" || r.Problem == nil || r.RestInForce || i > 0 && strings.Contains(r.Problem.Error(), "canary") {
			t.Errorf("%s: %+v, %v", text, o, r.Problem)
		}
	}
}

// TestAStartWithAFileThatCannotBeRead serves no version by default, for nobody knows which, until one is switched or the file can be read.
func TestAStartWithAFileThatCannotBeRead(t *testing.T) {
	s := newShips(t)
	s.put("serving.yaml", "default: [")
	canary := traffic.Traffic{Split: &traffic.Split{Canary: &traffic.Share{Version: "1", Percent: 50}}}
	s.restart(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: canary}})
	if _, err := s.Pick(Want{Model: "ranker", Key: key(1)}); err == nil || !strings.Contains(err.Error(), "its serving.yaml, which may name the default version, cannot be read") {
		t.Errorf("%v", err)
	}
	if p, err := s.Pick(Want{Model: "ranker", Version: 1}); err != nil {
		t.Errorf("a version that the request names: %v", err)
	} else {
		p.Release()
	}
	if o, r := s.Outcomes()["ranker"], s.Routes()[0]; o.Problem == "" || !r.DefaultUnknown {
		t.Errorf("a switch without a default version is taken: %+v", r)
	}
	alias := traffic.Traffic{Split: &traffic.Split{Canary: &traffic.Share{Version: "next", Percent: 50}}}
	s.restart(map[string]traffic.Live{"ranker": {Switch: 1, Traffic: alias}})
	if text := s.Routes()[0].Problem.Error(); strings.Count(text, "canary") != 1 {
		t.Errorf("%s", text)
	}
	canary.Default = "2"
	if err := s.Check("ranker", canary); err != nil {
		t.Error(err)
	}
	s.Steer(map[string]traffic.Live{"ranker": {Switch: 2, Traffic: canary}})
	s.wantShares(map[string]float64{"2 default": 50, "1 canary": 50})
	if o, r := s.Outcomes()["ranker"], s.Routes()[0]; o.Problem != "" || r.DefaultUnknown {
		t.Errorf("%+v, %+v", o, r)
	}
	s.restart(nil)
	s.put("serving.yaml", "default: 1")
	s.look()
	s.wantShares(map[string]float64{"1 default": 100})
	if p := s.Routes()[0].Problem; p != nil {
		t.Error(p)
	}
}
