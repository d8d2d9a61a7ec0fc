package serve

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/internal/serving"
)

// drift says again and again how far features have drifted from the baselines that were kept
// of their feature services. Of several services of a namespace one does it.
type drift struct {
	every  time.Duration
	sample int
	pool   *pgxpool.Pool
	served *serving.Current
	log    *slog.Logger

	psi, nulls *prometheus.GaugeVec
	last       *prometheus.GaugeVec
}

func (d *drift) register(r prometheus.Registerer) {
	d.psi = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "onehop_feature_drift_psi", Help: "Population stability index of a feature's values against the baseline of its feature service: above 0.25 it has drifted much.",
	}, []string{"service", "feature"})
	d.nulls = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "onehop_feature_null_share", Help: "Share of the sampled entities of which a feature has no value.",
	}, []string{"service", "feature"})
	d.last = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "onehop_feature_drift_last_seconds", Help: "When the drift of a feature service was last looked at, in seconds since 1970.",
	}, []string{"service"})
	r.MustRegister(d.psi, d.nulls, d.last)
}

// run looks until the context ends.
func (d *drift) run(ctx context.Context) error {
	return repeat(ctx, d.every, d.log, "the drift of features could not be told", d.once)
}

// once looks at each feature service that has a baseline, unless another service is about
// it: its figures are the newer ones then, and the own ones go.
func (d *drift) once(ctx context.Context) error {
	definitions, err := d.served.Get()
	if err != nil {
		return err
	}
	d.psi.Reset()
	d.nulls.Reset()
	_, err = history.Alone(ctx, d.pool, "onehop drift "+definitions.Catalog.Namespace, func(*pgxpool.Conn) error {
		for i := range definitions.Catalog.Services {
			if err := d.service(ctx, definitions, definitions.Catalog.Services[i].Name); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// fewest is how many values there must be for a drift to be told: of fewer it is chance.
const fewest = 100

func (d *drift) service(ctx context.Context, definitions *serving.Definitions, name string) error {
	baselines, err := maintain.Baselines(ctx, d.pool, definitions.Catalog.Namespace, name)
	if err != nil || len(baselines) == 0 {
		return err
	}
	p, err := definitions.Service(name)
	if err != nil {
		return err
	}
	snapshot, err := history.OpenSnapshot(ctx, d.pool, definitions.Catalog.Namespace, nil)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	all, err := maintain.Statistics(ctx, snapshot, definitions.Join(p.Plan), maintain.EndsOfDays(time.Now(), 1), d.sample, baselines)
	if err != nil {
		return err
	}
	for i := range all {
		s := &all[i]
		if s.Rows > 0 {
			d.nulls.WithLabelValues(name, s.Feature).Set(float64(s.Nulls) / float64(s.Rows))
		}
		if s.PSI != nil && s.Rows >= fewest && baselines[s.Feature].Rows >= fewest {
			d.psi.WithLabelValues(name, s.Feature).Set(*s.PSI)
		}
	}
	d.last.WithLabelValues(name).SetToCurrentTime()
	return nil
}
