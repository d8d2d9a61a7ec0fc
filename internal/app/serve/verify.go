package serve

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/internal/serving"
)

// verification compares rows with history again and again. Of several services of a
// namespace one does it.
type verification struct {
	every  time.Duration
	sample int
	pool   *pgxpool.Pool
	store  *online.Store
	served *serving.Current
	log    *slog.Logger
	logged servedVerification

	rows, different *prometheus.CounterVec
	last            *prometheus.GaugeVec
}

func (v *verification) register(r prometheus.Registerer) {
	v.rows = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onehop_verify_rows_total", Help: "Rows that were compared with the fold of their events in history.",
	}, []string{"view", "generation"})
	v.different = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onehop_verify_different_rows_total", Help: "Rows that differed from the fold of their events in history, by reason.",
	}, []string{"view", "generation", "reason"})
	v.last = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "onehop_verify_last_seconds", Help: "When a view was last compared, in seconds since 1970.",
	}, []string{"view", "generation"})
	r.MustRegister(v.rows, v.different, v.last)
	v.logged.register(r)
}

// run compares until the context ends.
func (v *verification) run(ctx context.Context) error {
	return repeat(ctx, v.every, v.log, "rows could not be verified", v.once)
}

// once compares a sample of each view, and of what was served, unless another service is about it.
func (v *verification) once(ctx context.Context) error {
	d, err := v.served.Get()
	if err != nil {
		return err
	}
	_, err = history.Alone(ctx, v.pool, "onehop verify "+d.Catalog.Namespace, func(*pgxpool.Conn) error { return v.all(ctx, d) })
	return err
}

// all compares a sample of each view, and of what was served.
func (v *verification) all(ctx context.Context, d *serving.Definitions) error {
	verifier := maintain.Verifier{Pool: v.pool, Store: v.store, Catalog: d.Catalog, Wait: 10 * time.Second}
	for i := range d.Catalog.Views {
		view := &d.Catalog.Views[i]
		result, err := verifier.View(ctx, view, v.sample)
		if err != nil {
			return err
		}
		v.tell(view, result)
	}
	return v.verifyServed(ctx)
}

// tell counts a result, and logs one that nobody wants.
func (v *verification) tell(view *featurestore.View, result *maintain.Verification) {
	generation := strconv.Itoa(view.Generation)
	v.rows.WithLabelValues(view.Name, generation).Add(float64(result.Rows))
	v.last.WithLabelValues(view.Name, generation).SetToCurrentTime()
	for reason, n := range result.Different {
		v.different.WithLabelValues(view.Name, generation, string(reason)).Add(float64(n))
	}
	if result.Wrong() > 0 {
		v.log.Error("ALARM: rows are not the fold of their events in history: run onehop verify", "view", view.Name,
			"generation", view.Generation, "rows", result.Rows, "different", result.Wrong(), "first", result.Differences[0])
	}
}
