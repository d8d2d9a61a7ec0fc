package inference

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/traffic"
)

// Route says which versions of a model answer requests. It is immutable.
type Route struct {
	Model string
	// Traffic is in force.
	Traffic traffic.Traffic
	// Switch numbers what was switched by hand and is laid over the serving.yaml, 0 for nothing; File
	// says that there is a serving.yaml.
	Switch int64
	File   bool
	// Problem is why what is wanted is not in force, but what was before; or which alias names no
	// version that can be served.
	Problem error
	// RestInForce says that the problem is of aliases only, and all else that is wanted is in force.
	RestInForce bool
	// DefaultUnknown says that nobody knows which version is for requests that name none, and they are not answered: the serving.yaml, which
	// may name it, cannot be read.
	DefaultUnknown bool

	inForce  state    // of which Traffic may be a part because versions went away
	behind   bool     // something else is wanted
	taken    bool     // the switch is, whatever is wrong with the serving.yaml
	versions []Served // by number
	standard *Served
	canary   *Served
	by       *featurestore.Entity // of the A/B test
	arms     []*Served            // as Traffic.Split.AB.Variants
	shadow   *Served
}

// newRoute finds the versions that traffic names. The error says what cannot be followed.
func newRoute(versions []Served, t traffic.Traffic) (*Route, error) {
	r := &Route{Traffic: t, versions: versions}
	var problems []error
	find := func(where, version string) *Served {
		n, err := t.Number(version)
		if err == nil {
			var m *Served
			if m, err = r.version(n); err == nil {
				return m
			}
		}
		problems = append(problems, fmt.Errorf("%s: %w", where, err))
		return nil
	}
	if t.Default == "" || t.Default == traffic.Newest {
		r.standard = r.newest()
	} else {
		r.standard = find("default", t.Default)
	}
	if split := t.Split; split != nil {
		if split.Canary != nil && split.Canary.Percent > 0 {
			r.canary = find("canary", split.Canary.Version)
		}
		if split.AB != nil {
			for _, v := range split.AB.Variants {
				r.arms = append(r.arms, find("variant "+v.Name, v.Version))
			}
			problems = append(problems, r.splitBy(split.AB.By))
		}
	}
	if t.Shadow != nil && t.Shadow.Percent > 0 {
		r.shadow = find("shadow", t.Shadow.Version)
	}
	r.Problem = r.checkAliases(t.Aliases) // which only the requests that use them need
	r.RestInForce = r.Problem != nil
	return r, errors.Join(problems...)
}

// checkAliases says which aliases name no version that can be served.
func (r *Route) checkAliases(aliases map[string]int64) (problems error) {
	for _, alias := range slices.Sorted(maps.Keys(aliases)) {
		if n := aliases[alias]; n > 0 {
			if _, err := r.version(n); err != nil {
				problems = errors.Join(problems, fmt.Errorf("alias %s: %w", alias, err))
			}
		}
	}
	return problems
}

// newAliases says which aliases of a switch that is not in force yet name no version: it is taken as a whole or not at all. One that was taken stays
// in force when a version goes away, and is taken again after a start.
func (r *Route) newAliases(hand, inForce traffic.Traffic) error {
	changed := map[string]int64{}
	for alias, version := range hand.Aliases {
		if inForce.Aliases[alias] != version {
			changed[alias] = version
		}
	}
	return r.checkAliases(changed)
}

// splitBy finds the entity of an A/B test; requests must bring it to whichever version.
func (r *Route) splitBy(name string) error {
	for _, arm := range r.arms {
		if arm == nil {
			return nil // which has been told
		}
		i := slices.IndexFunc(arm.Hop.Shared, func(e *featurestore.Entity) bool { return e.Name == name })
		if i < 0 {
			return fmt.Errorf("ab: requests bring no key of entity %q: split by a shared entity of the model's feature service", name)
		}
		r.by = arm.Hop.Shared[i]
	}
	return nil
}

func (r *Route) newest() *Served {
	for i := len(r.versions) - 1; i >= 0; i-- {
		if r.versions[i].Hop != nil {
			return &r.versions[i]
		}
	}
	return nil
}

// version is a version that can be served.
func (r *Route) version(n int64) (*Served, error) {
	i, found := slices.BinarySearchFunc(r.versions, int(n), func(s Served, n int) int { return cmp.Compare(s.Number, n) })
	switch {
	case !found:
		return nil, featurestore.Errorf(featurestore.Unknown, "model %q has no version %d", r.versions[0].Model, n)
	case r.versions[i].Hop == nil:
		return nil, featurestore.Errorf(featurestore.Unavailable, "version %d of model %q cannot be served", n, r.versions[0].Model).Because(r.versions[i].Problem)
	}
	return &r.versions[i], nil
}

// Want is what a request asks for.
type Want struct {
	Model string
	// Version and Alias name a version, one of them; 0 and "" name none.
	Version int64
	Alias   string
	// Key gives the encoded key of an entity that the request brings. Without it there is neither
	// canary nor A/B test: the default version answers.
	Key func(*featurestore.Entity) ([]byte, error)
}

// pick decides which version answers, and as which variant.
func (r *Route) pick(want *Want, random func() float64) (*Served, string, error) {
	switch {
	case want.Version != 0 && want.Alias != "":
		return nil, "", featurestore.Errorf(featurestore.Invalid, "request: version %d and alias %q are both given; give one", want.Version, want.Alias)
	case want.Version != 0:
		m, err := r.version(want.Version)
		return m, traffic.Pinned, err
	case want.Alias != "":
		n := r.Traffic.Aliases[want.Alias]
		if n == 0 {
			return nil, "", featurestore.Errorf(featurestore.Unknown, "model %q has no alias %q", r.Model, want.Alias)
		}
		m, err := r.version(n)
		return m, traffic.Pinned, err
	case want.Key != nil && r.by != nil:
		key, err := want.Key(r.by)
		if err != nil {
			return nil, "", err
		}
		i := r.Traffic.Split.AB.At(traffic.Place(r.Model, key))
		return r.arms[i], r.Traffic.Split.AB.Variants[i].Name, nil
	case want.Key != nil && r.canary != nil && random()*100 < r.Traffic.Split.Canary.Percent:
		return r.canary, traffic.Canary, nil
	case r.standard == nil:
		return nil, "", r.noDefault()
	default:
		return r.standard, traffic.Default, nil
	}
}

// Picked is a version that answers a request.
type Picked struct {
	// Hop is the caller's until its Release.
	*Hop
	// Variant is traffic.Default, traffic.Canary, traffic.Pinned or that of an A/B test.
	Variant string
	// Shadow is the number of the version that answers the request once more, 0 for none.
	Shadow int64
}

var errStarting = featurestore.Errorf(featurestore.Unavailable, "this instance has no definitions yet: it is starting, or none are applied (/readyz says which)")

// Pick decides which version of a model answers a request. A pinned one has no shadow.
func (s *Set) Pick(want Want) (Picked, error) {
	for {
		now := s.now.Load()
		if !now.defined {
			return Picked{}, errStarting
		}
		r := now.routes[want.Model]
		if r == nil {
			return Picked{}, featurestore.Errorf(featurestore.Unknown, "there is no model %q", want.Model)
		}
		m, variant, err := r.pick(&want, s.random)
		if err != nil {
			return Picked{}, err
		}
		if !m.Hop.Model.enter() {
			continue // it was closed since: the table is another by now
		}
		p := Picked{Hop: m.Hop, Variant: variant}
		if r.shadow != nil && variant != traffic.Pinned && want.Key != nil && r.shadow.Number != m.Number && s.random()*100 < r.Traffic.Shadow.Percent {
			p.Shadow = int64(r.shadow.Number)
		}
		return p, nil
	}
}

// Find returns a version of a model, 0 for the default one, which is the caller's until its Release.
func (s *Set) Find(name string, version int64) (*Hop, error) {
	p, err := s.Pick(Want{Model: name, Version: version})
	return p.Hop, err
}

// Routes are those of all models, by name.
func (s *Set) Routes() []*Route {
	routes := s.now.Load().routes
	list := make([]*Route, 0, len(routes))
	for _, r := range routes {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *Route) int { return cmp.Compare(a.Model, b.Model) })
	return list
}

// Check says whether traffic could be laid over what is wanted of a model now, or where that was refused over what is in force. It changes
// nothing. An alias may be taken away that is served or was switched, though no instance took the switch.
func (s *Set) Check(model string, over traffic.Traffic) error {
	r, live, file, err := s.asked(model)
	if err != nil || over.Empty() {
		return err
	}
	next, err := newRoute(r.versions, over.Over(r.inForce.whole()))
	if err = errors.Join(err, next.checkAliases(over.Aliases), traffic.CheckTaken(over, r.Traffic, live.Over(file))); err != nil {
		return featurestore.Errorf(featurestore.Invalid, "model %q cannot be switched so: %v", model, err)
	}
	return nil
}

// CheckState says whether a state that was switched by hand could be laid over the model's serving.yaml, or where that cannot be followed over
// the one that is in force. It changes nothing.
func (s *Set) CheckState(model string, hand traffic.Traffic) error {
	r, _, file, err := s.asked(model)
	if err != nil {
		return err
	}
	next, err := newRoute(r.versions, hand.Over(file))
	if err != nil {
		next, err = newRoute(r.versions, state{hand, r.inForce.file}.whole())
	}
	if err = errors.Join(err, next.checkAliases(hand.Aliases)); err != nil {
		return featurestore.Errorf(featurestore.Invalid, "model %q cannot be switched so: %v", model, err)
	}
	return nil
}

// asked is a model's route, and what is wanted of it: by hand, and by its serving.yaml.
func (s *Set) asked(model string) (r *Route, live, file traffic.Traffic, err error) {
	s.mu.Lock()
	live, file = s.live[model].Traffic, s.files[model].traffic
	s.mu.Unlock()
	if r = s.now.Load().routes[model]; r == nil {
		err = featurestore.Errorf(featurestore.Unknown, "there is no model %q", model)
	}
	return r, live, file, err
}

// Outcomes are what became of what was switched by hand, by model. Before there are definitions nothing is known.
func (s *Set) Outcomes() map[string]traffic.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now.Load()
	if !now.defined {
		return nil
	}
	outcomes, routes := map[string]traffic.Outcome{}, now.routes
	for model, live := range s.live {
		outcome := traffic.Outcome{Switch: live.Switch}
		if r := routes[model]; r == nil {
			outcome.Problem = fmt.Sprintf("there is no model %q in the repository", model)
		} else if !r.taken {
			outcome.Problem = r.Problem.Error()
		}
		outcomes[model] = outcome
	}
	return outcomes
}
