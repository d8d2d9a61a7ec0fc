package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/maintain"
	featureplan "github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/statistics"
	"github.com/onehop/onehop/featurestore/training"
	"github.com/onehop/onehop/featurestore/training/files"
)

// statsCommand sums up features.
type statsCommand struct {
	Features      []string `sep:"," placeholder:"VIEW.FEATURE" help:"Features; view.* is all of a view."`
	Service       string   `placeholder:"NAME" help:"The features of this feature service."`
	Days          int      `default:"1" help:"As of the ends of so many days, UTC; the last of them is now."`
	Sample        int      `default:"1000" help:"About how many entities of each kind to look at; random events choose them."`
	Reference     string   `placeholder:"FILE" help:"A training set, to say how far the values of today have drifted from it."`
	Keep          bool     `help:"Keep the reference as the baseline of the feature service: serve then tells its drift as a metric, and this command without --reference."`
	Namespace     string   `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	postgresFlags `embed:""`
	JSON          bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*statsCommand) Help() string {
	return `What the values of features are like, day by day, for a sample of entities: computed from history as training sets are.

With --reference, a training set of onehop training-set with columns of the same names, the population stability index (PSI) says how
far the values of today have drifted from it: by custom less than 0.1 is no drift, more than 0.25 much. A training set has the
entities of its spine, which may be others than random events choose: compare with one made the same way to be sure. --keep keeps its
distribution, no values, as the baseline of the feature service: later runs and serve's metric onehop_feature_drift_psi tell the drift from it.

Example:

    onehop stats --service ranking --days 7 --reference train.parquet --namespace movielens --postgres postgres://127.0.0.1/onehop`
}

// Check returns everything that is wrong with the flags.
func (c *statsCommand) Check() error {
	problems := []error{c.postgresFlags.Check()}
	if (len(c.Features) == 0) == (c.Service == "") {
		problems = append(problems, errors.New("say which features: --features or --service"))
	}
	if c.Days < 1 || c.Days > 366 {
		problems = append(problems, errors.New("--days must be between 1 and 366"))
	}
	if c.Sample < 1 || c.Sample > 1_000_000 {
		problems = append(problems, errors.New("--sample must be between 1 and 1000000"))
	}
	if c.Keep && (c.Reference == "" || c.Service == "") {
		problems = append(problems, errors.New("--keep needs --reference and --service"))
	}
	if c.Reference != "" {
		problems = append(problems, flagError("--reference", files.Check(c.Reference)))
	}
	return errors.Join(problems...)
}

// Run sums up.
func (c *statsCommand) Run(ctx context.Context, s Streams) error {
	pool, catalog, err := c.definitions(ctx, c.Namespace)
	if err != nil {
		return err
	}
	defer pool.Close()
	join, err := compileJoin(catalog, c.Features, c.Service)
	if err != nil {
		return err
	}
	baselines, err := c.baselines(ctx, pool, catalog.Namespace, s, join)
	if err != nil {
		return err
	}
	snapshot, err := history.OpenSnapshot(ctx, pool, catalog.Namespace, nil)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	stats, err := maintain.Statistics(ctx, snapshot, join, maintain.EndsOfDays(time.Now(), c.Days), c.Sample, baselines)
	if err != nil {
		return err
	}
	tellLeftOut(s.Err, join.Plan())
	if c.JSON {
		return writeJSON(s.Out, stats)
	}
	writeStats(s.Out, stats, len(baselines) > 0)
	return nil
}

// baselines are those of the reference, or that were kept for the service.
func (c *statsCommand) baselines(ctx context.Context, pool *pgxpool.Pool, namespace string, s Streams, join *training.Join) (map[string]statistics.Baseline, error) {
	if c.Reference == "" {
		return maintain.Baselines(ctx, pool, namespace, c.Service)
	}
	reference, err := readCells(ctx, c.Reference, s.In, join.Plan())
	if err != nil {
		return nil, err
	}
	baselines := map[string]statistics.Baseline{}
	for feature, cells := range reference {
		baselines[feature] = statistics.NewBaseline(cells)
	}
	if !c.Keep {
		return baselines, nil
	}
	for i := range join.Plan().Columns {
		column := &join.Plan().Columns[i]
		if _, there := baselines[column.Ref.String()]; !there && !column.Type.IsList() {
			fmt.Fprintf(s.Err, "%s has no column %q: there will be no drift of it\n", c.Reference, column.Ref)
		}
	}
	if err := maintain.SaveBaselines(ctx, pool, namespace, c.Service, baselines); err != nil {
		return nil, err
	}
	fmt.Fprintf(s.Err, "the baseline of feature service %s is kept: %d features\n", c.Service, len(baselines))
	return baselines, nil
}

// tellLeftOut says which features there are no statistics of.
func tellLeftOut(w io.Writer, p *featureplan.Plan) {
	for i := range p.Columns {
		if _, one := p.EntityOf(&p.Columns[i]); !one {
			fmt.Fprintf(w, "%s is left out: it is computed from several entities or from the request, and events are of one\n", p.Columns[i].Ref)
		}
	}
}

// writeStats prints statistics for a person.
func writeStats(w io.Writer, stats []maintain.FeatureStatistics, drift bool) {
	t := newTable(w)
	heading := []string{"feature", "as of", "values", "null", "distinct", "mean", "deviation", "1 %", "25 %", "50 %", "75 %", "99 %"}
	if drift {
		heading = append(heading, "PSI")
	}
	t.row(heading...)
	for i := range stats {
		f := &stats[i]
		row := []string{f.Feature, f.At.Format("2006-01-02 15:04"), strconv.Itoa(f.Rows), share(f.Nulls, f.Rows), strconv.Itoa(f.Distinct)}
		if n := f.Numbers; n != nil {
			for _, v := range append([]float64{n.Mean, n.Deviation}, n.Quantiles[:]...) {
				row = append(row, strconv.FormatFloat(v, 'g', 5, 64))
			}
		} else {
			row = append(row, "", "", "", "", "", "", "")
		}
		if drift && f.PSI != nil {
			row = append(row, fmt.Sprintf("%.3f", *f.PSI))
		}
		t.row(row...)
	}
	t.flush()
}

func share(part, all int) string {
	if all == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(all))
}
