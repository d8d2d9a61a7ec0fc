package rpc

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/inference"
)

// Queues tells Prometheus of the queue of every version that is loaded.
type Queues struct{ Models *inference.Set }

var (
	queueRuns       = prometheus.NewDesc("onehop_model_runs_total", "Runs of a model.", []string{"model", "version"}, nil)
	queueRows       = prometheus.NewDesc("onehop_model_rows_total", "Rows that were run; by runs, how many share one.", []string{"model", "version"}, nil)
	queueRequests   = prometheus.NewDesc("onehop_model_run_requests_total", "Requests whose rows were run, or parts of requests longer than a run.", []string{"model", "version"}, nil)
	queueRefused    = prometheus.NewDesc("onehop_model_refused_total", "Requests refused on arrival because they could not have been answered in time.", []string{"model", "version"}, nil)
	queueShed       = prometheus.NewDesc("onehop_model_shed_total", "Requests that waited for the model and were given up.", []string{"model", "version"}, nil)
	queueWaiting    = prometheus.NewDesc("onehop_model_waiting_rows", "Rows that wait for the model now.", []string{"model", "version"}, nil)
	queuePerRow     = prometheus.NewDesc("onehop_model_row_seconds", "Fit of the time of a run: what each row takes.", []string{"model", "version"}, nil)
	queueRemembered = prometheus.NewDesc("onehop_model_remembered_rows_total", "Rows of candidates looked up among those that were decoded before: hit or miss. None are looked up while few are found.", []string{"model", "version", "outcome"}, nil)
	queuePerRun     = prometheus.NewDesc("onehop_model_run_seconds", "Fit of the time of a run: what it takes whatever its rows.", []string{"model", "version"}, nil)
)

// Describe implements prometheus.Collector.
func (q Queues) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(q, descs) }

// Collect implements prometheus.Collector.
func (q Queues) Collect(metrics chan<- prometheus.Metric) {
	for _, m := range q.Models.Models() {
		if m.Hop == nil {
			continue
		}
		s := m.Hop.Model.Stats()
		version := strconv.Itoa(m.Number)
		hits, misses := m.Hop.Remembered()
		metrics <- prometheus.MustNewConstMetric(queueRemembered, prometheus.CounterValue, float64(hits), m.Model, version, "hit")
		metrics <- prometheus.MustNewConstMetric(queueRemembered, prometheus.CounterValue, float64(misses), m.Model, version, "miss")
		for _, metric := range []struct {
			desc  *prometheus.Desc
			kind  prometheus.ValueType
			value float64
		}{
			{queueRuns, prometheus.CounterValue, float64(s.Runs)},
			{queueRows, prometheus.CounterValue, float64(s.Rows)},
			{queueRequests, prometheus.CounterValue, float64(s.Requests)},
			{queueRefused, prometheus.CounterValue, float64(s.Refused)},
			{queueShed, prometheus.CounterValue, float64(s.Shed)},
			{queueWaiting, prometheus.GaugeValue, float64(s.Waiting)},
			{queuePerRow, prometheus.GaugeValue, s.PerRow.Seconds()},
			{queuePerRun, prometheus.GaugeValue, s.PerRun.Seconds()},
		} {
			metrics <- prometheus.MustNewConstMetric(metric.desc, metric.kind, metric.value, m.Model, version)
		}
	}
}
