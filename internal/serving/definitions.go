// Package serving holds the definitions that a service answers by, compiled: the
// catalog, a plan for each feature service, and where each view's rows are. It changes
// them under running requests without dropping one.
package serving

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/featurestore/training"
)

// Definitions is one version, compiled. It is immutable.
type Definitions struct {
	Catalog  *featurestore.Catalog
	programs map[string]*fold.Program
	views    map[string]*online.View
	services map[string]*Plan
}

// Plan is a plan and, for each of its views, where the rows are.
type Plan struct {
	*plan.Plan
	Online []*online.View
	// Log says how much of what is served by the plan is logged.
	Log featurestore.Log
}

// Compile compiles a catalog.
func Compile(catalog *featurestore.Catalog) (*Definitions, error) {
	programs, err := plan.Programs(catalog)
	if err != nil {
		return nil, err
	}
	d := &Definitions{Catalog: catalog, programs: programs, views: map[string]*online.View{}, services: map[string]*Plan{}}
	for i := range catalog.Views {
		d.views[catalog.Views[i].Name] = online.NewView(catalog.Namespace, &catalog.Views[i])
	}
	for _, s := range catalog.Services {
		if d.services[s.Name], err = d.Plan(s.Columns); err != nil {
			return nil, err
		}
		d.services[s.Name].Log = s.Log
	}
	return d, nil
}

// Plan compiles a list of features.
func (d *Definitions) Plan(refs []featurestore.Ref) (*Plan, error) {
	p, err := plan.Compile(d.Catalog, d.programs, refs)
	if err != nil {
		return nil, err
	}
	compiled := &Plan{Plan: p}
	for _, v := range p.Views {
		compiled.Online = append(compiled.Online, d.views[v.Name])
	}
	return compiled, nil
}

// Join is a training set of a plan of these definitions.
func (d *Definitions) Join(p *plan.Plan) *training.Join { return training.NewJoin(p, d.programs) }

// Service is the plan of a feature service.
func (d *Definitions) Service(name string) (*Plan, error) {
	if p, ok := d.services[name]; ok {
		return p, nil
	}
	return nil, featurestore.Errorf(featurestore.Unknown, "there is no feature service %q", name)
}

// Current is the version that is served now. It is safe for concurrent use.
type Current struct {
	store   *online.Store
	log     *slog.Logger
	now     atomic.Pointer[Definitions]
	changed func(*Definitions)
}

// NewCurrent serves nothing yet. changed, when not nil, is told of every version that
// comes into service, before it does.
func NewCurrent(store *online.Store, log *slog.Logger, changed func(*Definitions)) *Current {
	return &Current{store: store, log: log, changed: changed}
}

// Always serves one version, which never changes.
func Always(d *Definitions) *Current {
	c := &Current{}
	c.now.Store(d)
	return c
}

// Get is the version that is served.
func (c *Current) Get() (*Definitions, error) {
	if d := c.now.Load(); d != nil {
		return d, nil
	}
	return nil, featurestore.Errorf(featurestore.Unavailable, "no definitions are applied yet")
}

// Run follows the definitions until the context ends. A version whose views are still
// being filled comes into service when they are live; until then the one before it is
// served, if there is one whose views are live.
func (c *Current) Run(ctx context.Context, follower *registry.Follower) error {
	for ctx.Err() == nil {
		versions, changed := follower.Versions()
		settled := c.choose(ctx, versions)
		limit := 500 * time.Millisecond
		if settled {
			limit = time.Minute
		}
		timer := time.NewTimer(limit)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// choose puts the best version into service and says whether it is the newest.
func (c *Current) choose(ctx context.Context, versions []*featurestore.Catalog) (settled bool) {
	if len(versions) == 0 {
		return false
	}
	newest := versions[len(versions)-1]
	serving := c.now.Load()
	if serving != nil && serving.Catalog.Version == newest.Version {
		return true
	}
	if c.live(ctx, newest) {
		c.serve(newest)
		return true
	}
	if serving != nil {
		return false
	}
	// Just started: an older version may be live while the newest is being filled.
	for i := len(versions) - 2; i >= max(0, len(versions)-3); i-- {
		if c.live(ctx, versions[i]) {
			c.serve(versions[i])
			return false
		}
	}
	c.serve(newest) // nothing is live: say so, view by view
	return true
}

func (c *Current) live(ctx context.Context, catalog *featurestore.Catalog) bool {
	for i := range catalog.Views {
		live, err := c.store.Live(ctx, online.NewView(catalog.Namespace, &catalog.Views[i]))
		if err != nil || !live {
			return false
		}
	}
	return true
}

func (c *Current) serve(catalog *featurestore.Catalog) {
	d, err := Compile(catalog)
	if err != nil {
		c.log.Error("the stored definitions cannot be served", "version", catalog.Version, "error", err)
		return
	}
	if c.changed != nil {
		c.changed(d)
	}
	c.now.Store(d)
	c.log.Info("serving definitions", "version", catalog.Version)
}

// Programs are the compiled folds, by view name.
func (d *Definitions) Programs() map[string]*fold.Program { return d.programs }
