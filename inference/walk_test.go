package inference

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/traffic"
)

// walk is what a random walk did, and what it knows of what is to be served.
type walk struct {
	*ships
	random *rand.Rand
	steps  []string
	there  map[string]bool // the versions 1 to 3; version 5, the newest, is there always
	stored []traffic.Traffic
	taken  int              // the newest of stored that was
	file   *traffic.Traffic // nil where it cannot be read
	under  *traffic.Traffic // the file in force, nil where none is known
}

// TestWhateverHappensTheNewestStateThatWasTakenIsServed: through switches and serving.yamls that can be followed or not, versions that come and go, and
// starts. What is wanted is served when it can be followed as a whole; else what was in force, or of it the default version, or none. Version 5 is
// never named, but it is what requests would get if what was switched were lost. Who runs on and who starts serve the same.
func TestWhateverHappensTheNewestStateThatWasTakenIsServed(t *testing.T) {
	first := traffic.Traffic{Default: "1"}
	w := &walk{
		ships: newShips(t), random: rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano()))),
		there: map[string]bool{"1": true, "2": true}, stored: []traffic.Traffic{{}}, file: &first, under: &first,
	}
	w.ship(5, 5)
	w.put("serving.yaml", "default: 1")
	w.look()
	for range 100 {
		w.step()
		taken := w.expect()
		if o := w.Outcomes()["ranker"]; (o.Problem == "") != taken && len(w.stored) > 1 {
			w.fatalf("taken: %q, want %v", o.Problem, taken)
		}
		want, shadow := w.served()
		w.wantAnswers(w.ships, want, shadow)
		if w.file == nil || !w.all(w.file.Under(w.stored[w.taken]).Named()) {
			continue // who starts knows of no other serving.yaml
		}
		starts := &ships{t: t, dir: w.dir, Set: NewSet(w.runtime, w.repo, w.log)}
		starts.begin(w.catalog, w.programs, w.live())
		w.wantAnswers(starts, want, shadow)
		if err := starts.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *walk) step() {
	switch step := w.random.IntN(10); {
	case step < 3:
		w.stored = append(w.stored, w.state(w.random.IntN(3) > 0))
		w.tellf("switch to %q", yaml(w.stored[len(w.stored)-1]))
		w.Steer(w.live())
	case step < 6:
		n := w.version()
		if w.there[n] = !w.there[n]; w.there[n] {
			w.ship(int(n[0]-'0'), 1)
		} else {
			w.remove(n)
		}
		w.tellf("version %s is there: %v", n, w.there[n])
		w.look()
	case step < 7:
		w.tellf("told again")
		w.Steer(w.live())
	case step < 9:
		w.edit()
		w.look()
	default:
		w.tellf("start")
		w.under = nil
		w.restart(w.live())
	}
}

func (w *walk) tellf(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

func (w *walk) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s; after\n%s", fmt.Sprintf(format, args...), strings.Join(w.steps, "\n"))
}

func (w *walk) version() string { return strconv.Itoa(1 + w.random.IntN(3)) }

// state has a default version or none, and a canary, an A/B test, neither, or nothing to say of them, and a shadow, none, or nothing.
func (w *walk) state(hasDefault bool) (state traffic.Traffic) {
	if hasDefault {
		state.Default = w.version()
	}
	switch w.random.IntN(5) {
	case 0:
		state.Split = &traffic.Split{}
	case 1, 2:
		state.Split = &traffic.Split{Canary: &traffic.Share{Version: w.version(), Percent: 50}}
	case 3:
		state.Split = &traffic.Split{AB: &traffic.AB{By: "user", Variants: []traffic.Variant{{Name: "a", Version: w.version(), Percent: 50}, {Name: "b", Version: w.version(), Percent: 50}}}}
	}
	switch w.random.IntN(6) {
	case 0:
		state.Shadow = &traffic.Share{Version: w.version(), Percent: 100}
	case 1:
		state.Shadow = &traffic.Share{}
	}
	return state
}

// edit writes another serving.yaml, which names a default version where it can be read.
func (w *walk) edit() {
	text := "default: ["
	w.file = nil
	if w.random.IntN(4) > 0 {
		state := w.state(true)
		if state.Split != nil && len(traffic.Traffic{Split: state.Split}.Named()) == 0 {
			state.Split = nil // which no file says
		}
		if state.Shadow != nil && state.Shadow.Version == "" {
			state.Shadow = nil
		}
		w.file, text = &state, yaml(state)
	}
	w.tellf("serving.yaml is %q", text)
	w.put("serving.yaml", text)
}

// yaml is a state as a serving.yaml says it.
func yaml(state traffic.Traffic) (text string) {
	if state.Default != "" {
		text = "default: " + state.Default + "\n"
	}
	switch split := state.Split; {
	case split == nil:
	case split.Canary != nil:
		text += fmt.Sprintf("traffic: {canary: {version: %s, percent: 50}}\n", split.Canary.Version)
	case split.AB != nil:
		a, b := split.AB.Variants[0].Version, split.AB.Variants[1].Version
		text += fmt.Sprintf("traffic: {ab: {by: user, variants: [{name: a, version: %s, percent: 50}, {name: b, version: %s, percent: 50}]}}\n", a, b)
	default:
		text += "traffic: {}\n"
	}
	switch shadow := state.Shadow; {
	case shadow == nil:
	case shadow.Percent > 0:
		text += fmt.Sprintf("shadow: {version: %s, percent: 100}\n", shadow.Version)
	default:
		text += "shadow: {percent: 0}\n"
	}
	return text
}

// live is what the store tells: with the newest state that was taken, when the last was not.
func (w *walk) live() map[string]traffic.Live {
	last := len(w.stored) - 1
	if last == 0 {
		return nil
	}
	l := traffic.Live{Switch: int64(last), Traffic: w.stored[last]}
	if w.taken < last {
		l.Before = &w.stored[w.taken]
	}
	return map[string]traffic.Live{"ranker": l}
}

// expect follows a step, and says whether the last switch is in force as a whole.
func (w *walk) expect() bool {
	last := len(w.stored) - 1
	hand := w.stored[last]
	switch {
	case w.file != nil && w.all(hand.Over(*w.file).Named()):
		w.taken, w.under = last, w.file
		return true
	case w.file != nil && (w.under == nil || w.all(w.file.Under(w.stored[w.taken]).Named())):
		w.under = w.file
		return false
	case w.under == nil && hand.Default == "":
		return false
	}
	if w.under != nil {
		hand = hand.Over(*w.under)
	}
	if !w.all(hand.Named()) {
		return false
	}
	w.taken = last
	return true
}

// served lists the versions that answer, and that in their shadow.
func (w *walk) served() (versions []string, shadow string) {
	state := w.stored[w.taken]
	if w.under != nil {
		state = state.Over(*w.under)
	}
	if !w.all(state.Named()) {
		state.Split, state.Shadow = nil, nil
	}
	switch {
	case state.Default == "" || !w.there[state.Default]:
		return nil, ""
	case state.Shadow != nil:
		shadow = state.Shadow.Version
		state.Shadow = nil
	}
	if state.Split != nil && state.Split.AB != nil {
		state.Default = ""
	}
	return state.Named(), shadow
}

func (w *walk) all(names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !w.there[n] })
}

// wantAnswers asks for many users; each version has a half of them or all.
func (w *walk) wantAnswers(s *ships, want []string, shadow string) {
	w.t.Helper()
	var got []string
	for user := range 40 {
		p, err := s.Pick(Want{Model: "ranker", Key: key(user)})
		if err != nil {
			if want != nil {
				w.fatalf("%v, want %s", err, want)
			}
			return
		}
		p.Release()
		answers := strconv.Itoa(p.Model.Number)
		got = append(got, answers)
		if in := strconv.FormatInt(p.Shadow, 10); in != "0" && in != shadow || in == "0" && shadow != "" && shadow != answers {
			w.fatalf("%s is in the shadow of %s, want %q", in, answers, shadow)
		}
	}
	slices.Sort(got)
	want = slices.Compact(slices.Sorted(slices.Values(want)))
	if got = slices.Compact(got); !slices.Equal(got, want) {
		w.fatalf("versions %s are served, want %s", got, want)
	}
}
