package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/inference/switches"
	"github.com/onehop/onehop/inference/traffic"
)

// modelsHistoryCommand shows switches.
type modelsHistoryCommand struct {
	Model         string `arg:"" optional:"" help:"Name of the model; without it, of all."`
	Limit         int    `default:"20" help:"At most so many, the newest."`
	Namespace     string `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	postgresFlags `embed:""`
	JSON          bool `name:"json" help:"Print JSON."`
}

// Check returns everything that is wrong with the flags.
func (c *modelsHistoryCommand) Check() error {
	var limit error
	if c.Limit < 1 || c.Limit > 10_000 {
		limit = errors.New("--limit must be between 1 and 10000")
	}
	return errors.Join(c.postgresFlags.Check(), limit)
}

// Run shows.
func (c *modelsHistoryCommand) Run(ctx context.Context, s Streams) error {
	pool, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	history, err := switches.New(pool, c.Namespace).History(ctx, c.Model, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(s.Out, history)
	} else {
		for i := range history {
			writeSwitch(s.Out, &history[i])
		}
	}
	if err != nil || len(history) > 0 || c.Model == "" {
		return err
	}
	return c.tellNone(ctx, s, pool)
}

// tellNone says of a model that it was never switched, or that there is none of that name.
func (c *modelsHistoryCommand) tellNone(ctx context.Context, s Streams, pool *pgxpool.Pool) error {
	versions, err := registry.New(pool, c.Namespace).Versions(ctx)
	if err != nil {
		return err
	}
	for _, catalog := range versions {
		if slices.ContainsFunc(catalog.Models, func(m featurestore.Model) bool { return m.Name == c.Model }) {
			fmt.Fprintf(s.Err, "model %q was never switched by hand\n", c.Model)
			return nil
		}
	}
	return fmt.Errorf("there is no model %q in the definitions of namespace %q, and nobody ever switched one: onehop models list shows those of infer", c.Model, c.Namespace)
}

// writeSwitch prints a switch for a person.
func writeSwitch(w io.Writer, s *switches.Switch) {
	action := s.Action
	switch {
	case s.BackTo != nil:
		action += " to " + stateOf(*s.BackTo)
	case action == switches.FromFile:
		action = "back to its serving.yaml"
	}
	fmt.Fprintf(w, "switch %d of %s: %s, by %s, %s\n", s.ID, s.Model, action, s.Who, s.At.UTC().Format(time.RFC3339))
	if s.Reason != "" {
		fmt.Fprintf(w, "  because: %s\n", s.Reason)
	}
	fmt.Fprintf(w, "  was: %s\n  is:  %s\n", trafficText(s.Was), trafficText(s.Traffic))
	for _, o := range s.Outcomes {
		became := "taken"
		if o.Problem != "" {
			became = "refused: " + o.Problem
		}
		fmt.Fprintf(w, "  %s: %s\n", o.Instance, became)
	}
	switch {
	case s.SupersededBy > 0:
		fmt.Fprintf(w, "  superseded by switch %d before any instance of infer took it\n", s.SupersededBy)
	case len(s.Outcomes) == 0:
		fmt.Fprintln(w, "  no instance of infer has taken it yet")
	}
}

// stateOf names the state that a switch made.
func stateOf(id int64) string {
	if id == 0 {
		return "before any switch"
	}
	return fmt.Sprintf("switch %d", id)
}

// trafficText is traffic in a line.
func trafficText(t traffic.Traffic) string {
	if t.Empty() {
		return "as serving.yaml says"
	}
	text, err := json.Marshal(t)
	if err != nil { // it has numbers and texts only, and no NaN since it is checked
		return err.Error()
	}
	return string(text)
}
