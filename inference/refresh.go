package inference

import (
	"context"
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
	// keepRetired is longer than a request takes.
	keepRetired = 10 * time.Minute
)

// Refresh looks for new and changed versions in the repository and loads them; a version that lives elsewhere is tried again each time
// until its servers answer, and loaded again when they describe another model. A bad version does not hide a good one.
func (s *Set) Refresh(ctx context.Context) error {
	versions, err := s.repo.Scan()
	if err != nil {
		return fmt.Errorf("the model repository: %w", err)
	}
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	s.closeRetired(time.Now())
	var here, elsewhere []repository.Version
	for _, v := range versions {
		if v.Err == nil && v.Spec.Remote != nil {
			elsewhere = append(elsewhere, v)
		} else {
			here = append(here, v)
		}
	}
	s.mu.Lock()
	before := maps.Clone(s.loaded)
	s.mu.Unlock()
	s.drop(versions)
	s.replace(s.load(ctx, here, before, 1)) // does not wait for other servers
	s.replace(s.load(ctx, elsewhere, before, remoteLoads))
	return nil
}

// load loads what is new or changed, so many at once.
func (s *Set) load(ctx context.Context, versions []repository.Version, before map[string]*entry, atOnce int) []*entry {
	entries := make([]*entry, len(versions))
	var all errgroup.Group
	all.SetLimit(atOnce)
	for i, v := range versions {
		all.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, loadTimeout)
			defer cancel()
			if !before[v.Dir].is(ctx, v) {
				entries[i] = &entry{version: v}
				entries[i].model, entries[i].err = Load(ctx, s.runtime, v)
			}
			return nil
		})
	}
	_ = all.Wait() // what went wrong is in the entries
	return slices.DeleteFunc(entries, func(e *entry) bool { return e == nil })
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

// replace takes what was loaded, and compiles it.
func (s *Set) replace(loaded []*entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for _, e := range loaded {
		old := s.loaded[e.version.Dir]
		s.loaded[e.version.Dir] = e
		s.retire(old)
		if old != nil && old.err != nil && e.err != nil && old.err.Error() == e.err.Error() {
			continue // a server that is still away
		}
		changed = true
		log := s.log.With("model", e.version.Model, "version", e.version.Number)
		if e.err != nil {
			log.Error("a model version cannot be loaded", "error", e.err)
		} else {
			log.Info("model version loaded", "sha256", e.model.SHA256)
		}
	}
	if changed {
		s.rebuild()
	}
}

// drop forgets versions that are gone.
func (s *Set) drop(versions []repository.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.loaded)
	for key, old := range s.loaded {
		if !slices.ContainsFunc(versions, func(v repository.Version) bool { return v.Dir == key }) {
			s.retire(old)
			delete(s.loaded, key)
			s.log.Info("model version removed", "version", key)
		}
	}
	if len(s.loaded) < before {
		s.rebuild()
	}
}

// retired is a version that was replaced or removed. Requests under way may have it still, so it is closed when they have surely ended.
type retired struct {
	model *Model
	since time.Time
}

func (s *Set) retire(old *entry) {
	if old != nil && old.model != nil {
		s.retired = append(s.retired, retired{model: old.model, since: time.Now()})
	}
}

func (s *Set) closeRetired(now time.Time) {
	s.mu.Lock()
	var due []*Model
	s.retired = slices.DeleteFunc(s.retired, func(r retired) bool {
		over := now.Sub(r.since) > keepRetired
		if over {
			due = append(due, r.model)
		}
		return over
	})
	s.mu.Unlock()
	for _, m := range due {
		if err := m.Close(); err != nil {
			s.log.Warn("a model version that was replaced cannot be closed", "error", err)
		}
	}
}
