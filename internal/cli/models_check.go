package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/onehop/onehop/inference/switches"
	"github.com/onehop/onehop/inference/traffic"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// version is a flag's version of a model. A negative number is taken for one, and not for another flag, so that the error is about versions.
type version string

// Decode implements kong.MapperValue.
func (v *version) Decode(ctx *kong.DecodeContext) error {
	text := ctx.Scan.Peek().String()
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		*v = version(text)
		ctx.Scan.Pop()
		return nil
	}
	return ctx.Scan.PopValueInto("version", (*string)(v))
}

// checkThere refuses to switch a model that infer does not have, and to take away aliases that are neither served nor switched. While infer is
// away both are done unasked. A model that was switched and is gone may be given back to its file.
func (c *modelsSwitchCommand) checkThere(ctx context.Context, s Streams, store *switches.Store) error {
	list, err := (&inferFlags{Infer: c.Infer}).models(ctx)
	if err != nil {
		fmt.Fprintf(s.Err, "Whether infer has model %q, and aliases to take away, was not looked up: %v\n", c.Model, err)
		return nil
	}
	if there := list.GetNamespace(); there != "" && there != c.Namespace { // before it was told there was none
		return fmt.Errorf("infer at %s serves namespace %q, and the switch would be stored in %q: give --namespace %s (ONEHOP_NAMESPACE), or another --infer",
			c.Infer, there, c.Namespace, there)
	}
	last, err := store.History(ctx, c.Model, 1)
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(list.GetModels(), func(m *onehopv1.Model) bool { return m.GetName() == c.Model })
	if !known && (c.change.Action == switches.Set || len(last) == 0) {
		return fmt.Errorf("infer at %s has no model %q, and nothing was switched: onehop models list shows those it has", c.Infer, c.Model)
	}
	inForce := traffic.Traffic{Aliases: routeOf(list, c.Model).GetTraffic().GetAliases()}
	c.tellBad(s, list, inForce)
	in := []traffic.Traffic{inForce}
	if len(last) > 0 {
		in = append(in, last[0].Traffic)
	}
	if err := traffic.CheckTaken(c.change.Traffic, in...); err != nil {
		return fmt.Errorf("model %q: %w", c.Model, err)
	}
	return nil
}

// tellBad warns of versions that are switched to and have a problem, though they may be served: one whose files were spoilt is until the next start.
func (c *modelsSwitchCommand) tellBad(s Streams, list *onehopv1.ListModelsResponse, inForce traffic.Traffic) {
	next := c.change.Traffic.Over(inForce)
	bad := map[int64]string{}
	for _, m := range list.GetModels() {
		if m.GetName() == c.Model && m.GetProblem() != "" {
			bad[m.GetVersion()] = m.GetProblem()
		}
	}
	for _, version := range c.change.Traffic.Named() {
		n, err := next.Number(version)
		if err != nil {
			continue // which infer tells
		}
		if problem, is := bad[n]; is {
			fmt.Fprintf(s.Err, "Version %d of %s has a problem, and where infer starts it may not be served: %s\n", n, c.Model, firstOf(problem))
			delete(bad, n)
		}
	}
}
