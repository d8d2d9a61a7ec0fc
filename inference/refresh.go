package inference

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/inference/repository"
)

const (
	// remoteLoads is how many versions that live elsewhere are asked for at once.
	remoteLoads = 8
	// loadTimeout bounds how long a version that lives elsewhere may keep a refresh waiting.
	loadTimeout = 10 * time.Second
)

// Refresh looks for new and changed versions in the repository and loads them, and closes those that were replaced or
// removed when no request has them any more. A version that lives elsewhere is tried again each time until its servers answer, and loaded
// again when they describe another model. A bad version does not hide a good one.
func (s *Set) Refresh(ctx context.Context) error {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	versions, err := s.repo.Scan()
	if err != nil {
		return fmt.Errorf("the model repository: %w", err)
	}
	var here, elsewhere []repository.Version
	for _, v := range versions {
		if v.Err == nil && v.Spec.Remote != nil {
			elsewhere = append(elsewhere, v)
		} else {
			here = append(here, v)
		}
	}
	changed := s.follow(s.readServing(versions), versions)
	if s.install(s.load(ctx, here, 1)) || changed { // does not wait for other servers
		s.tryNew()
	}
	if s.install(s.load(ctx, elsewhere, remoteLoads)) {
		s.tryNew()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell()
	return s.sweep()
}

// readServing reads the serving.yaml of each model.
func (s *Set) readServing(versions []repository.Version) map[string]wanted {
	files := map[string]wanted{}
	for _, v := range versions {
		if _, read := files[v.Model]; !read {
			var w wanted
			w.traffic, w.err = s.repo.Serving(v.Model)
			files[v.Model] = w
		}
	}
	return files
}

func (w wanted) equal(other wanted) bool {
	return fmt.Sprint(w.err) == fmt.Sprint(other.err) && w.traffic.Equal(other.traffic)
}

// follow takes what the files want of the models, and forgets versions that are gone. It says whether there is anything new, which what waits
// for its trial always is.
func (s *Set) follow(files map[string]wanted, versions []repository.Version) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = !maps.EqualFunc(files, s.files, wanted.equal)
	s.files = files
	for dir, e := range s.loaded {
		changed = changed || errors.Is(e.trial, ErrUntried)
		if !slices.ContainsFunc(versions, func(v repository.Version) bool { return v.Dir == dir }) {
			delete(s.loaded, dir)
			s.retire(e.model)
			s.retire(e.kept.model)
			changed = true
			if e.version.Stray {
				s.log.Info("a directory beside a model's versions is gone", "model", e.version.Model, "directory", dir)
				continue
			}
			s.log.Info("model version removed", "model", e.version.Model, "version", e.version.Number)
		}
	}
	if changed {
		s.rebuild()
	}
	return changed
}

// load loads what is new or changed, so many at once.
func (s *Set) load(ctx context.Context, versions []repository.Version, atOnce int) []loading {
	s.mu.Lock()
	before := maps.Clone(s.loaded)
	s.mu.Unlock()
	loads := make([]*loading, len(versions))
	var all errgroup.Group
	all.SetLimit(atOnce)
	for i, v := range versions {
		all.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, loadTimeout)
			defer cancel()
			if !before[v.Dir].is(ctx, v) {
				model, err := Load(ctx, s.runtime, v, s.Shared, s.log)
				loads[i] = &loading{copied{v, model}, err}
			}
			return nil
		})
	}
	_ = all.Wait() // what went wrong is in the loads
	var done []loading
	for _, l := range loads {
		if l != nil {
			done = append(done, *l)
		}
	}
	return done
}

// is says whether a version was looked at already, and would be found the same.
func (e *entry) is(ctx context.Context, v repository.Version) bool {
	if e == nil || e.version.SHA256 != v.SHA256 || e.version.SpecSHA256 != v.SpecSHA256 || (e.version.Err == nil) != (v.Err == nil) {
		return false
	}
	if v.Err != nil || v.Spec.Remote == nil {
		return true
	}
	return e.model != nil && !e.model.remote.Changed(ctx)
}

// install puts what was loaded beside what was there, which is kept until the new one is served. It says whether there is anything new.
func (s *Set) install(loads []loading) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range loads {
		old := s.loaded[l.version.Dir]
		e := &entry{copied: l.copied, err: l.err, trial: errNotYet}
		s.loaded[l.version.Dir] = e
		if old != nil && old.served {
			e.kept = old.copied
		} else if old != nil {
			s.retire(old.model)
			e.kept = old.kept
		}
		if old != nil && old.err != nil && l.err != nil && old.err.Error() == l.err.Error() {
			continue // a server that is still away
		}
		changed = true
		s.logLoad(l)
	}
	return changed
}

func (s *Set) logLoad(l loading) {
	if l.version.Stray {
		s.log.Warn("a directory beside a model's versions is passed over", "model", l.version.Model, "directory", l.version.Dir, "error", l.err)
		return
	}
	log := s.log.With("model", l.version.Model, "version", l.version.Number)
	if l.err != nil {
		log.Error("a model version cannot be loaded", "error", l.err)
		return
	}
	log.Info("model version loaded", "sha256", l.model.SHA256, "provider", l.model.Provider)
	if l.model.Fallback != nil {
		log.Warn("a model version is not computed by the provider of its model.yaml", "reason", l.model.Fallback)
	}
}

// retire leaves a model to the requests that have it.
func (s *Set) retire(m *Model) {
	if m != nil {
		s.retired = append(s.retired, m)
	}
}

// sweep closes the retired models that no request has.
func (s *Set) sweep() error {
	var problems []error
	busy := s.retired[:0]
	for _, m := range s.retired {
		if !m.shut() {
			busy = append(busy, m)
			continue
		}
		problems = append(problems, m.Close())
	}
	clear(s.retired[len(busy):])
	s.retired = busy
	return errors.Join(problems...)
}
