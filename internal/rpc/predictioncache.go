package rpc

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/inference"
)

// PredictionCaches tells Prometheus of the caches of every version that is loaded.
type PredictionCaches struct{ Models *inference.Set }

var (
	cacheTotal = prometheus.NewDesc("onehop_prediction_cache_total",
		"Rows (kind exact) or requests (kind request) by outcome: hit, miss, or bypass, which is computed without a look at the cache.", []string{"model", "version", "kind", "outcome"}, nil)
	cacheOn    = prometheus.NewDesc("onehop_prediction_cache_on", "1 while the cache is on, 0 while it costs more than it saves.", []string{"model", "version", "kind"}, nil)
	cacheBytes = prometheus.NewDesc("onehop_prediction_cache_bytes", "Memory of the cache's entries.", []string{"model", "version", "kind"}, nil)
)

// Describe implements prometheus.Collector.
func (c PredictionCaches) Describe(descs chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, descs)
}

// Collect implements prometheus.Collector.
func (c PredictionCaches) Collect(metrics chan<- prometheus.Metric) {
	for _, m := range c.Models.Models() {
		if m.Hop == nil {
			continue
		}
		for kind, s := range m.Hop.Model.Kept() {
			version := strconv.Itoa(m.Number)
			for outcome, n := range map[string]uint64{"hit": s.Hits, "miss": s.Misses, "bypass": s.Bypassed} {
				metrics <- prometheus.MustNewConstMetric(cacheTotal, prometheus.CounterValue, float64(n), m.Model, version, kind, outcome)
			}
			on := 0.0
			if s.On {
				on = 1
			}
			metrics <- prometheus.MustNewConstMetric(cacheOn, prometheus.GaugeValue, on, m.Model, version, kind)
			metrics <- prometheus.MustNewConstMetric(cacheBytes, prometheus.GaugeValue, float64(s.Bytes), m.Model, version, kind)
		}
	}
}
