package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/maintain"
)

// verifyCommand compares Redis with history.
type verifyCommand struct {
	View          []string  `arg:"" optional:"" help:"These views only."`
	Served        bool      `help:"Compare the serving log: what was served with what history gives at the same read times and watermarks."`
	Since         time.Time `placeholder:"TIME" help:"With --served: vectors that were read from this time on, RFC 3339."`
	Until         time.Time `placeholder:"TIME" help:"With --served: vectors that were read before this time."`
	Sample        int       `default:"1000" help:"About how many entities of each view, or vectors, to compare; 0 is all."`
	Namespace     string    `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	postgresFlags `embed:""`
	redisFlags    `embed:""`
	Wait          time.Duration `default:"10s" help:"How long history may take to get as far as the rows."`
	JSON          bool          `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*verifyCommand) Help() string {
	return "Recomputes rows from the events in Postgres, up to the watermarks that Redis has, and compares what a reader would see. " +
		"It may run beside everything else. The exit status is 1 when a row differs.\n\n" +
		"Why a row differs: lost (events are missing from it), late (those that came late are), changed definition (it was " +
		"written for another one), unknown (it holds what no event says).\n\n" +
		"With --served the values that services gave are compared, as the serving log has them, and the skew is the share of them that " +
		"history does not give. Redis is not asked. The exit status is 1 when it is not zero.\n\n" +
		"Example:\n\n    onehop verify user_ratings --sample 0 --namespace movielens --redis redis://127.0.0.1:6379/0 --postgres postgres://127.0.0.1/onehop"
}

// Check returns everything that is wrong with the flags.
func (c *verifyCommand) Check() error {
	err := c.postgresFlags.Check()
	switch {
	case !c.Served && (!c.Since.IsZero() || !c.Until.IsZero()):
		err = errors.Join(err, errors.New("--since and --until are for --served"))
	case c.Served && len(c.View) > 0:
		err = errors.Join(err, errors.New("--served compares all views: name none"))
	case !c.Served:
		err = errors.Join(err, c.redisFlags.Check())
	}
	if c.Sample < 0 {
		err = errors.Join(err, errors.New("--sample must not be negative; 0 is all"))
	}
	return err
}

// Run verifies.
func (c *verifyCommand) Run(ctx context.Context, s Streams) (err error) {
	if c.Served {
		return c.served(ctx, s)
	}
	pool, catalog, err := c.definitions(ctx, c.Namespace)
	if err != nil {
		return err
	}
	defer pool.Close()
	views, err := viewsNamed(catalog, c.View)
	if err != nil {
		return err
	}
	client, store, err := c.redisFlags.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	var results []*maintain.Verification
	wrong := 0
	for _, view := range views {
		done := 0
		report, finish := progress(s.Err, "verifying "+view.Name, c.Sample)
		v := maintain.Verifier{Pool: pool, Store: store, Catalog: catalog, Wait: c.Wait, Progress: func(rows int) {
			done += rows
			report(done)
		}}
		result, err := v.View(ctx, view, c.Sample)
		finish()
		if err != nil {
			return err
		}
		results, wrong = append(results, result), wrong+result.Wrong()
	}
	if c.JSON {
		err = writeJSON(s.Out, results)
	} else {
		writeVerifications(s.Out, results)
	}
	if err == nil && wrong > 0 {
		err = exitError(exitFailed)
	}
	return err
}

// viewsNamed are the views of those names, or all.
func viewsNamed(catalog *featurestore.Catalog, names []string) ([]*featurestore.View, error) {
	var views []*featurestore.View
	for i := range catalog.Views {
		if len(names) == 0 || slices.Contains(names, catalog.Views[i].Name) {
			views = append(views, &catalog.Views[i])
		}
	}
	for _, name := range names {
		if catalog.View(name) == nil {
			return nil, fmt.Errorf("namespace %s has no feature view %q", catalog.Namespace, name)
		}
	}
	return views, nil
}

// writeVerifications prints results for a person.
func writeVerifications(w io.Writer, results []*maintain.Verification) {
	t := newTable(w)
	t.row("view", "rows", "values", "different", "not compared", "why")
	for _, r := range results {
		var why []string
		for _, reason := range slices.Sorted(maps.Keys(r.Different)) {
			why = append(why, fmt.Sprintf("%d %s", r.Different[reason], reason))
		}
		t.row(fmt.Sprintf("%s@%d", r.View, r.Generation), strconv.Itoa(r.Rows), strconv.Itoa(r.Points), strconv.Itoa(r.Wrong()),
			strconv.Itoa(r.Unchecked), strings.Join(why, ", "))
	}
	t.flush()
	for _, r := range results {
		if len(r.Differences) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", r.View)
		t := newTable(w)
		t.row("key", "feature", "online", "history", "why")
		for _, d := range r.Differences {
			t.row(d.Key, d.Column, d.Online, d.History, string(d.Reason))
		}
		t.flush()
	}
	for _, r := range results {
		if r.Unchecked > 0 {
			fmt.Fprintf(w, "\n%d rows of %s were not compared: history had not got as far within --wait, or they are being filled.\n", r.Unchecked, r.View)
		}
	}
}
