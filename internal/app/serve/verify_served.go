package serve

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/maintain"
)

// servedVerification compares the serving log with history, as part of a verification.
type servedVerification struct {
	versions func() []*featurestore.Catalog
	// from is the read time from which on vectors were not compared yet, in microseconds.
	from int64

	points    prometheus.Counter
	different *prometheus.CounterVec
}

func (v *servedVerification) register(r prometheus.Registerer) {
	v.points = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "onehop_verify_served_points_total", Help: "Values of the serving log that were compared with those that history gives.",
	})
	v.different = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onehop_verify_served_different_total", Help: "Values of the serving log that history does not give, by reason.",
	}, []string{"reason"})
	r.MustRegister(v.points, v.different)
}

// settle is how old vectors are when they are compared: the log takes a moment to reach history.
const settle = time.Minute

// verifyServed compares about sample of the vectors that were served since the last time.
func (v *verification) verifyServed(ctx context.Context) error {
	versions := v.logged.versions()
	if len(versions) == 0 || versions[len(versions)-1].Source(featurestore.ServedSource) == nil {
		return nil
	}
	to := time.Now().Add(-min(settle, v.every)).UnixMicro()
	from := max(v.logged.from, to-v.every.Microseconds())
	verifier := maintain.ServedVerifier{Pool: v.pool, Catalogs: versions, Wait: 10 * time.Second}
	skew, err := verifier.Verify(ctx, from, to, v.sample)
	if err != nil {
		return err
	}
	v.logged.from = to
	v.logged.points.Add(float64(skew.Points))
	for reason, n := range skew.Reasons {
		v.logged.different.WithLabelValues(string(reason)).Add(float64(n))
	}
	if skew.Different > 0 {
		v.log.Error("ALARM: what was served is not what history gives: run onehop verify --served", "vectors", skew.Vectors,
			"values", skew.Points, "different", skew.Different, "first", skew.Differences[0])
	}
	return nil
}
