package inference

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/predictions"
	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/traffic"
)

// Set is every version of every model of a repository, compiled against the
// definitions that are served, and which of them answers. It is safe for concurrent use.
type Set struct {
	// Warm, when set, tries a version on recent requests before it comes into service. An
	// error keeps it out; after one that wraps ErrUntried it is tried again at each Refresh. It is set before the first.
	Warm func(*Hop) error
	// Shared, when set, has the answers that models share. It is set before the first Refresh.
	Shared *predictions.Shared

	runtime *onnx.Runtime
	repo    *repository.Repository
	log     *slog.Logger
	random  func() float64

	refreshing sync.Mutex // one Refresh at a time; a rollback does not wait for it
	trying     sync.Mutex // one tryNew at a time; nor for that

	mu       sync.Mutex // guards what follows, for rebuilding
	loaded   map[string]*entry
	retired  []*Model // replaced or removed, and perhaps in use
	files    map[string]wanted
	live     map[string]traffic.Live
	catalog  *featurestore.Catalog
	programs map[string]*fold.Program
	told     map[string]string // what is wrong with the traffic of each model, as the log had it last
	now      atomic.Pointer[table]
}

// entry is a version that was looked at.
type entry struct {
	copied        // as it lies there; without a model it cannot be loaded, and err says why
	kept   copied // what was served before its files changed, while those cannot be served
	served bool   // that copied was served once
	err    error
	told   string // why it does not fit, as the log had it last
	trial  error  // what came of trying copied, while it was not served; [errNotYet] at first
}

// copied is what a version's files held at one time.
type copied struct {
	version repository.Version
	model   *Model
}

// loading is what became of loading a version.
type loading struct {
	copied
	err error
}

// wanted is what a serving.yaml says, or what is wrong with it.
type wanted struct {
	traffic traffic.Traffic
	err     error
}

// table is what is served; it is immutable.
type table struct {
	list    []Served
	routes  map[string]*Route
	defined bool // there were definitions, without which nothing is served
}

// Served is one version of a model as it stands.
type Served struct {
	repository.Version
	// Hop is nil when the version cannot be served.
	Hop *Hop
	// Problem is what is wrong with the version: why it cannot be served or, with a Hop, why its
	// files were not taken after they changed, so that what was loaded before is served on, or why
	// the CPU computes it in place of its provider.
	Problem error
	// Default says that requests which name no version get this one, but for those of a
	// canary or an A/B test.
	Default bool
}

// NewSet serves the models of a repository. Nothing is loaded before Refresh.
func NewSet(rt *onnx.Runtime, repo *repository.Repository, log *slog.Logger) *Set {
	s := &Set{runtime: rt, repo: repo, log: log, random: rand.Float64, loaded: map[string]*entry{}, files: map[string]wanted{}}
	s.now.Store(&table{})
	return s
}

// Models lists the versions by name and number.
func (s *Set) Models() []Served { return s.now.Load().list }

// Define compiles all models against new definitions, and tries those that are not in service yet. What is served is the old until that is done.
func (s *Set) Define(catalog *featurestore.Catalog, programs map[string]*fold.Program) {
	s.mu.Lock()
	s.catalog, s.programs = catalog, programs
	s.mu.Unlock()
	s.tryNew()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell()
}

// Steer takes what was switched by hand, by model; models that are not in it go by their serving.yaml. What cannot be followed
// is told by [Set.Routes], and what was in force before stays.
func (s *Set) Steer(live map[string]traffic.Live) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = live
	s.rebuild()
	s.tell()
}

// longRefresh is how long a refresh takes that the log tells of.
const longRefresh = 30 * time.Second

// Run refreshes every few seconds until the context ends.
func (s *Set) Run(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.tick(ctx)
		}
	}
}

// tick is a refresh whose troubles are told by the log. It may take long where engines are built, and for ever where the file system is away.
func (s *Set) tick(ctx context.Context) {
	began := time.Now()
	long := time.AfterFunc(longRefresh, func() {
		s.log.Warn("looking for new models takes long: no other version is loaded meanwhile", "repository", s.repo.Dir(), "since", began)
	})
	defer long.Stop()
	if err := s.Refresh(ctx); err != nil {
		s.log.Warn("cannot look for new models", "error", err)
	}
}

// Loaded lists the models that are loaded, in no order.
func (s *Set) Loaded() []*Model {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Model
	for _, e := range s.loaded {
		for _, m := range []*Model{e.model, e.kept.model} {
			if m != nil {
				all = append(all, m)
			}
		}
	}
	return all
}

// Close frees all models. No request may have one any more.
func (s *Set) Close() error {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	s.trying.Lock()
	defer s.trying.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Store(&table{})
	for dir, e := range s.loaded {
		delete(s.loaded, dir)
		s.retire(e.model)
		s.retire(e.kept.model)
	}
	var err error
	for _, m := range s.retired {
		err = errors.Join(err, m.Close())
	}
	s.retired = nil
	return err
}
