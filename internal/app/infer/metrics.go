package infer

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/inference/oip"
)

// remotes tells of the servers of models that live elsewhere. Its series are those of the versions that are loaded, and go with them.
type remotes struct {
	models               *inference.Set
	calls, busy, breaker *prometheus.Desc
}

func newRemotes(models *inference.Set) *remotes {
	return &remotes{
		models:  models,
		calls:   prometheus.NewDesc("onehop_remote_calls_total", "Calls to servers of models that live elsewhere, by how they ended.", []string{"model", "version", "endpoint", "outcome"}, nil),
		busy:    prometheus.NewDesc("onehop_remote_calls_busy", "Calls under way to a server of a model that lives elsewhere.", []string{"model", "version", "endpoint"}, nil),
		breaker: prometheus.NewDesc("onehop_remote_breaker_open", "Whether a server of a model that lives elsewhere is left alone because it failed: 1 yes, 0.5 one call tries it, 0 no.", []string{"model", "version", "endpoint"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (r *remotes) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.calls, r.busy, r.breaker} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (r *remotes) Collect(metrics chan<- prometheus.Metric) {
	for _, m := range r.models.Loaded() {
		version := strconv.Itoa(m.Number)
		for _, e := range m.Endpoints() {
			metrics <- prometheus.MustNewConstMetric(r.busy, prometheus.GaugeValue, float64(e.Busy), m.Name, version, e.Address)
			metrics <- prometheus.MustNewConstMetric(r.breaker, prometheus.GaugeValue, e.Open, m.Name, version, e.Address)
			for outcome := range oip.Outcomes {
				metrics <- prometheus.MustNewConstMetric(r.calls, prometheus.CounterValue, float64(e.Outcomes[outcome]), m.Name, version, e.Address, outcome.String())
			}
		}
	}
}
