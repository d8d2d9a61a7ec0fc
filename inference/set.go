package inference

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/repository"
)

// Set is every version of every model of a repository, compiled against the
// definitions that are served. It is safe for concurrent use.
type Set struct {
	runtime *onnx.Runtime
	repo    *repository.Repository
	log     *slog.Logger

	refreshing sync.Mutex // held while models are loaded, which may take long

	mu       sync.Mutex // guards what follows, for rebuilding
	loaded   map[string]*entry
	retired  []retired
	catalog  *featurestore.Catalog
	programs map[string]*fold.Program
	now      atomic.Pointer[[]Served]
}

// entry is a version that was looked at: loaded, or found bad.
type entry struct {
	version repository.Version
	model   *Model
	err     error
}

// Served is one version of a model as it stands.
type Served struct {
	repository.Version
	// Hop is nil when the version cannot be served, and Problem says why.
	Hop     *Hop
	Problem error
	// Default says that requests which name no version get this one.
	Default bool
}

// NewSet serves the models of a repository. Nothing is loaded before Refresh.
func NewSet(rt *onnx.Runtime, repo *repository.Repository, log *slog.Logger) *Set {
	s := &Set{runtime: rt, repo: repo, log: log, loaded: map[string]*entry{}}
	s.now.Store(&[]Served{})
	return s
}

// Models lists the versions by name and number.
func (s *Set) Models() []Served { return *s.now.Load() }

// Find returns a version of a model; 0 is the default one.
func (s *Set) Find(name string, version int64) (*Hop, error) {
	known := false
	for i, m := range s.Models() {
		if m.Model != name {
			continue
		}
		known = true
		if version == 0 && m.Default || version != 0 && int64(m.Number) == version {
			if m.Hop == nil {
				return nil, featurestore.Errorf(featurestore.Unavailable, "version %d of model %q cannot be served", m.Number, name).Because(m.Problem)
			}
			return s.Models()[i].Hop, nil
		}
	}
	switch {
	case !known:
		return nil, featurestore.Errorf(featurestore.Unknown, "there is no model %q", name)
	case version == 0:
		return nil, featurestore.Errorf(featurestore.Unavailable, "no version of model %q can be served", name)
	default:
		return nil, featurestore.Errorf(featurestore.Unknown, "model %q has no version %d", name, version)
	}
}

// Define compiles all models against new definitions.
func (s *Set) Define(catalog *featurestore.Catalog, programs map[string]*fold.Program) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalog, s.programs = catalog, programs
	s.rebuild()
}

// rebuild compiles what is loaded and makes it what is served.
func (s *Set) rebuild() {
	var list []Served
	for _, e := range s.loaded {
		m := Served{Version: e.version, Problem: e.err}
		if e.model != nil {
			m.Version = e.model.Version // with the digest of what lives elsewhere
		}
		switch {
		case e.err != nil:
		case s.catalog == nil:
			m.Problem = errors.New("no definitions are applied yet")
		default:
			m.Hop, m.Problem = Compile(e.model, s.catalog, s.programs)
			if m.Problem != nil {
				m.Hop = nil
				s.log.Error("a model version does not fit the definitions", "model", m.Model, "version", m.Number, "error", m.Problem)
			}
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Served) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Number, b.Number))
	})
	newest := map[string]int{}
	for i, m := range list {
		if m.Hop != nil {
			newest[m.Model] = i
		}
	}
	for _, i := range newest {
		list[i].Default = true
	}
	s.now.Store(&list)
}

// Run refreshes every few seconds until the context ends.
func (s *Set) Run(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := s.Refresh(ctx); err != nil {
				s.log.Warn("cannot look for new models", "error", err)
			}
		}
	}
}

// Loaded lists the models that are loaded, in no order.
func (s *Set) Loaded() []*Model {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Model
	for _, e := range s.loaded {
		if e.model != nil {
			all = append(all, e.model)
		}
	}
	return all
}

// Close frees all models.
func (s *Set) Close() error {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	all := s.Loaded()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, old := range s.retired {
		all = append(all, old.model)
	}
	for _, m := range all {
		err = errors.Join(err, m.Close())
	}
	s.loaded, s.retired = map[string]*entry{}, nil
	s.now.Store(&[]Served{})
	return err
}
