package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/registry"
)

// definitionFlags say which definitions are meant and where they are applied.
type definitionFlags struct {
	Paths         []string `arg:"" name:"dir" help:"Definition files, or directories of them; all make one catalog."`
	Namespace     string   `env:"ONEHOP_NAMESPACE" placeholder:"NAME" help:"Namespace, in place of the one that the files name."`
	postgresFlags `embed:""`
}

// load reads and checks the definitions.
func (f *definitionFlags) load() (*featurestore.Catalog, error) {
	return definition.Options{Namespace: f.Namespace}.Load(f.Paths...)
}

// planCommand shows what would change.
type planCommand struct {
	definitionFlags  `embed:""`
	DetailedExitcode bool `help:"Exit with status 2 when there are changes."`
	JSON             bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*planCommand) Help() string {
	return "Nothing is changed. A view that needs a new generation is filled from Kafka while the one before it is served.\n\n" +
		"Example:\n\n    onehop plan examples/movielens/definitions --postgres postgres://127.0.0.1/onehop"
}

// Run shows the plan.
func (c *planCommand) Run(ctx context.Context, s Streams) error {
	after, err := c.load()
	if err != nil {
		return err
	}
	pool, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	plan, err := newPlan(ctx, pool, after)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(s.Out, plan)
	} else {
		err = plan.write(s.Out)
	}
	if err == nil && c.DetailedExitcode && !plan.Unchanged {
		return exitError(exitChanges)
	}
	return err
}

// plan is what applying a catalog would do.
type plan struct {
	Namespace string `json:"namespace"`
	// Version is the newest that is applied, 0 for none, and Next what would follow it.
	Version   int          `json:"version"`
	Next      int          `json:"next"`
	Unchanged bool         `json:"unchanged"`
	Changes   []planChange `json:"changes"`

	changes []definition.Change
}

// planChange is a change as JSON.
type planChange struct {
	Kind     definition.Kind `json:"kind"`
	Noun     string          `json:"noun"`
	Name     string          `json:"name"`
	Details  []string        `json:"details,omitempty"`
	NewState bool            `json:"new_generation,omitempty"`
	RowBytes int             `json:"max_row_bytes,omitempty"`
}

// newPlan compares a catalog with what is applied. It fails when the catalog cannot
// follow it.
func newPlan(ctx context.Context, pool *pgxpool.Pool, after *featurestore.Catalog) (*plan, error) {
	versions, err := registry.New(pool, after.Namespace).Versions(ctx)
	if err != nil {
		return nil, err
	}
	var before *featurestore.Catalog
	if len(versions) > 0 {
		before = versions[len(versions)-1]
	}
	p := &plan{Namespace: after.Namespace, Version: len(versions), Next: len(versions) + 1, changes: definition.Diff(before, after)}
	for _, change := range p.changes {
		p.Changes = append(p.Changes, planChange(change))
	}
	if _, err = registry.Next(versions, after); errors.Is(err, registry.ErrUnchanged) {
		p.Unchanged, p.Next = true, p.Version
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("these definitions cannot follow version %d of namespace %q: %w", p.Version, p.Namespace, err)
	}
	return p, nil
}

func (p *plan) write(w io.Writer) error {
	applied := "nothing is applied yet"
	if p.Version > 0 {
		applied = fmt.Sprintf("version %d is applied", p.Version)
	}
	fmt.Fprintf(w, "Namespace %s: %s.\n\n", p.Namespace, applied)
	if err := definition.Write(w, p.changes, colorful(w)); err != nil {
		return fmt.Errorf("writing the plan: %w", err)
	}
	return nil
}
