package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/registry"
)

// applyCommand applies definitions.
type applyCommand struct {
	definitionFlags `embed:""`
	Yes             bool `short:"y" env:"ONEHOP_YES" help:"Do not ask. Without a terminal nobody is asked."`
	JSON            bool `name:"json" help:"Print JSON, and do not ask."`
}

// Help is printed by --help.
func (*applyCommand) Help() string {
	return "Definitions become the next version of their namespace. Running services hear of it at once; it takes effect " +
		"for records that arrive a few seconds later, so that all of them decide alike.\n\n" +
		"Example:\n\n    onehop apply examples/movielens/definitions --postgres postgres://127.0.0.1/onehop --yes"
}

// applied is what apply prints as JSON.
type applied struct {
	*plan
	EffectiveAt *time.Time `json:"effective_at,omitempty"`
}

// Run shows the plan, asks, and applies.
func (c *applyCommand) Run(ctx context.Context, s Streams) error {
	catalog, err := c.load()
	if err != nil {
		return err
	}
	pool, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	plan, err := newPlan(ctx, pool, catalog)
	if err != nil {
		return err
	}
	if plan.Unchanged {
		if c.JSON {
			return writeJSON(s.Out, applied{plan: plan})
		}
		fmt.Fprintf(s.Out, "Nothing to do: version %d of namespace %s says the same.\n", plan.Version, plan.Namespace)
		return nil
	}
	if !c.JSON {
		if err := plan.write(s.Out); err != nil {
			return err
		}
		if err := confirm(ctx, s, c.Yes, "Apply?", "nothing was applied"); err != nil {
			return err
		}
	}
	version, err := registry.New(pool, catalog.Namespace).ApplyAfter(ctx, catalog, time.Now(), plan.Version)
	if errors.Is(err, registry.ErrUnchanged) { // somebody else was faster
		fmt.Fprintf(s.Err, "Nothing to do: the same was applied to namespace %s meanwhile.\n", plan.Namespace)
		return nil
	}
	if err != nil {
		return err
	}
	effective := time.UnixMicro(version.EffectiveAt).UTC()
	if c.JSON {
		plan.Next = version.Version
		return writeJSON(s.Out, applied{plan, &effective})
	}
	fmt.Fprintln(s.Out, appliedText(version))
	return nil
}

func appliedText(version *featurestore.Catalog) string {
	return fmt.Sprintf("Applied version %d of namespace %s; it takes effect for records from %s on.", version.Version,
		version.Namespace, featurestore.FormatTime(version.EffectiveAt))
}
