package inference

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/traffic"
)

// rebuild compiles what is loaded and makes it what is served.
func (s *Set) rebuild() {
	next := &table{routes: map[string]*Route{}, defined: s.catalog != nil}
	for _, e := range s.loaded {
		if !e.version.Stray { // which is told by the log alone
			next.list = append(next.list, s.compile(e))
		}
	}
	slices.SortFunc(next.list, func(a, b Served) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Number, b.Number))
	})
	before := s.now.Load()
	if !before.defined { // it answered nothing, and what it had for want of switches was not in force
		before = &table{}
	}
	for from := 0; from < len(next.list); {
		model, to := next.list[from].Model, from
		for to < len(next.list) && next.list[to].Model == model {
			to++
		}
		next.routes[model] = s.route(next.list[from:to], before.routes[model])
		from = to
	}
	s.now.Store(next)
}

// compile compiles a version, or what was served before its files changed when those cannot be.
func (s *Set) compile(e *entry) Served {
	hop, err := s.fit(e)
	if err == nil {
		s.retire(e.kept.model)
		e.kept, e.served = copied{}, true
		return Served{Version: e.model.Version, Hop: hop, Problem: e.model.Fallback} // with the digest of what lives elsewhere
	}
	err = public(err)
	if e.kept.model == nil || s.catalog == nil {
		return Served{Version: e.version, Problem: err}
	}
	hop, old := Compile(e.kept.model, s.catalog, s.programs)
	if old != nil {
		return Served{Version: e.version, Problem: err}
	}
	return Served{
		Version: e.kept.model.Version, Hop: hop,
		Problem: fmt.Errorf("its files changed and were not taken, so that the model of before is served on: %w", err),
	}
}

// public is a problem as every caller may read it; the log had the whole of it when it came.
func public(problem error) error {
	if text := oip.Public(problem); text != problem.Error() {
		return errors.New(text)
	}
	return problem
}

// fit compiles a version that may be served: a new one only when it passed its trial.
func (s *Set) fit(e *entry) (*Hop, error) {
	if e.model == nil {
		return nil, e.err
	}
	if s.catalog == nil {
		return nil, errors.New("no definitions are applied yet")
	}
	hop, err := Compile(e.model, s.catalog, s.programs)
	switch {
	case err != nil || e.served || e.trial == nil:
	case errors.Is(e.trial, ErrUntried) || errors.Is(e.trial, errNotYet):
		err = e.trial
	default:
		err = fmt.Errorf("it fails on requests that were answered lately: %w", e.trial)
	}
	s.note(e, err)
	if err != nil {
		return nil, err
	}
	return hop, nil
}

// state is what is in force of a model: what was switched by hand, and the serving.yaml under it.
type state struct {
	hand traffic.Traffic
	file *traffic.Traffic // nil where none could be read yet
}

func (st state) whole() traffic.Traffic {
	if st.file == nil {
		return st.hand
	}
	return st.hand.Over(*st.file)
}

// unread says that nobody knows which version is the default: a serving.yaml may name it that cannot be read.
func (st state) unread() bool { return st.file == nil && st.hand.Default == "" }

// route is the state followed as a whole, in place of another; the error says what of it cannot be.
func (st state) route(versions []Served, before state) (*Route, error) {
	r, err := newRoute(versions, st.whole())
	return r, errors.Join(err, r.newAliases(st.hand, before.whole()))
}

// route decides which versions of a model answer: as is wanted or, where that cannot be followed as a whole, by what is in force. Neither a switch nor
// a serving.yaml that cannot be followed holds up the other.
func (s *Set) route(versions []Served, before *Route) *Route {
	model := versions[0].Model
	file, live := s.files[model], s.live[model]
	inForce := state{hand: live.Traffic} // after a start, when some instance took it
	switch {
	case before != nil:
		inForce = before.inForce
	case live.Before != nil:
		inForce.hand = *live.Before
	}
	wanted := state{live.Traffic, inForce.file} // what is switched goes on where the file cannot be read
	if file.err == nil {
		wanted.file = &file.traffic
	}
	r, err := wanted.route(versions, inForce)
	if err == nil && !wanted.unread() {
		inForce, r.taken = wanted, true
		if file.err != nil {
			r.Problem, r.RestInForce = errors.Join(file.err, r.Problem), false
		}
	} else {
		var taken bool
		if file.err == nil {
			inForce, taken = inForce.next(versions, wanted)
		}
		behind := !wanted.whole().Equal(inForce.whole())
		r = fallback(versions, inForce, errors.Join(file.err, err), behind)
		r.taken, r.behind = taken, behind || file.err != nil
	}
	r.inForce = inForce
	r.Model, r.Switch, r.File = model, live.Switch, file.err != nil || !file.traffic.Empty()
	if r.standard != nil {
		r.standard.Default = true
	}
	return r
}

// next is what comes into force of what is wanted and cannot be followed as a whole: the serving.yaml, when it can be under what is switched, whatever
// that has lost, as where an instance starts; else the switch, when it can be over the serving.yaml before, which taken says.
func (st state) next(versions []Served, wanted state) (now state, taken bool) {
	if _, err := newRoute(versions, wanted.file.Under(st.hand)); err == nil || st.file == nil {
		return state{st.hand, wanted.file}, false
	}
	now = state{wanted.hand, st.file}
	if _, err := now.route(versions, st); err != nil {
		return st, false
	}
	return now, true
}

// fallback is for traffic that cannot be followed, for a reason: it goes by what is in force or, where that has lost a version too, by its default
// version and aliases. A default version that is not there, or that a serving.yaml may name that nobody can read, is not replaced by another.
func fallback(versions []Served, inForce state, reason error, behind bool) *Route {
	t := inForce.whole()
	r, err := newRoute(versions, t)
	if err != nil || inForce.unread() {
		t.Split, t.Shadow = nil, nil
		r, _ = newRoute(versions, t)
	}
	if err != nil && behind {
		reason = fmt.Errorf("%w; and of what was in force before: %w", reason, err)
	}
	if r.DefaultUnknown = inForce.unread(); r.DefaultUnknown {
		r.standard = nil
	}
	r.Problem, r.RestInForce = reason, false
	return r
}

// tell logs what is newly wrong with the traffic of models. A refresh tells at its end: a serving.yaml may name a version that it has yet to load.
func (s *Set) tell() {
	if !s.now.Load().defined {
		return
	}
	told := map[string]string{}
	for model, r := range s.now.Load().routes {
		if r.Problem == nil || r.RestInForce {
			continue
		}
		told[model] = r.Problem.Error()
		if s.told[model] != told[model] {
			s.log.Error("the traffic of a model is not as it is wanted", "model", model, "switch", r.Switch, "error", r.Problem)
		}
	}
	s.told = told
}
