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

// route decides which versions of a model answer: as is wanted, or where that cannot be followed as a whole, by what was in force.
func (s *Set) route(versions []Served, before *Route) *Route {
	model := versions[0].Model
	file, live := s.files[model], s.live[model]
	wanted := live.Traffic.Over(file.traffic)
	inForce, known := wanted, file.err == nil
	switch {
	case before != nil && before.inForce != nil:
		inForce, known = *before.inForce, true
	case live.Before != nil: // as after a start
		inForce = live.Before.Over(file.traffic)
	}
	r, err := newRoute(versions, wanted)
	if err = errors.Join(file.err, err, r.newAliases(live, inForce)); err == nil {
		inForce, known = wanted, true
	} else {
		r = fallback(versions, inForce, err)
		r.behind = !wanted.Equal(inForce)
	}
	if known {
		r.inForce = &inForce
	}
	r.Model, r.Switch, r.File = model, live.Switch, !file.traffic.Empty() || file.err != nil
	if r.standard != nil {
		r.standard.Default = true
	}
	return r
}

// fallback is for traffic that cannot be followed, for a reason: it goes by what was in force or, where that has lost a version too, by its default
// version and aliases. A default version that is not there is not replaced by another.
func fallback(versions []Served, inForce traffic.Traffic, reason error) *Route {
	r, err := newRoute(versions, inForce)
	if err != nil {
		inForce.Split, inForce.Shadow = nil, nil
		r, _ = newRoute(versions, inForce)
		if err.Error() != reason.Error() {
			reason = fmt.Errorf("%w; and of what was in force before: %w", reason, err)
		}
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
