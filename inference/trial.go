package inference

import (
	"errors"

	"github.com/onehop/onehop/featurestore"
)

// ErrUntried means that a version could not be tried for a reason that is not its own.
var ErrUntried = errors.New("it cannot be tried now")

// errNotYet is of a version that is loaded and will be tried.
var errNotYet = errors.New("it has not been tried yet")

// trial is a version on its way into service.
type trial struct {
	*entry
	hop *Hop
	err error
}

// tryNew tries the versions that are not in service yet, each on recent requests, and takes those that pass. It holds up neither requests nor
// switches meanwhile: a trial may take seconds, and the more the worse things are.
func (s *Set) tryNew() {
	s.trying.Lock()
	defer s.trying.Unlock()
	trials, catalog := s.trials()
	for i := range trials {
		t := &trials[i]
		t.err = s.Warm(t.hop)
		t.hop.Release()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range trials {
		if s.catalog == catalog { // else [Set.Define] waits to try it on the new ones
			t.trial = t.err
		}
	}
	s.rebuild()
}

// trials are those of the versions that could be served otherwise, and the definitions that they are compiled against. Their hops are to be released.
func (s *Set) trials() (trials []trial, catalog *featurestore.Catalog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.loaded {
		if e.served || e.model == nil || s.catalog == nil {
			continue
		}
		hop, err := Compile(e.model, s.catalog, s.programs)
		switch {
		case err != nil:
			e.trial = errNotYet
		case s.Warm == nil:
			e.trial = nil
		case e.model.enter():
			trials = append(trials, trial{entry: e, hop: hop})
		}
	}
	return trials, s.catalog
}

// note logs what is newly wrong with a version: it is looked at again whenever anything changes.
func (s *Set) note(e *entry, err error) {
	if errors.Is(err, errNotYet) {
		return
	}
	before := e.told
	if e.told = ""; err != nil {
		e.told = err.Error()
	}
	log := s.log.With("model", e.version.Model, "version", e.version.Number)
	switch {
	case e.told == before || err == nil:
	case errors.Is(err, ErrUntried):
		log.Warn("a model version waits", "reason", err)
	case e.trial != nil && e.trial != errNotYet: //nolint:errorlint // it is set as it is
		log.Error("a model version fails its trial", "error", err)
	default:
		log.Error("a model version does not fit the definitions", "error", err)
	}
}
