package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
)

// metrics are what an operator asks of ingest.
type metrics struct {
	records, rejected, events *prometheus.CounterVec
	lag                       *prometheus.GaugeVec
	batch, seconds, fresh     *prometheus.HistogramVec
	newest, view, gone        *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_ingest_records_total", Help: "Records processed, by group (online, history) and source.",
		}, []string{"group", "source"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_ingest_rejected_total", Help: "Records that could not be accepted and went to the dead-letter topic.",
		}, []string{"group", "source"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_ingest_view_events_total", Help: "Events by what became of them in a view: folded (late ones among them), late, duplicate, or skipped as already there; commits in conflict over a row, and commits overtaken by another owner of the partition.",
		}, []string{"view", "generation", "outcome"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "onehop_ingest_lag_records", Help: "Records in the partition that are not processed yet.",
		}, []string{"group", "topic", "partition"}),
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onehop_ingest_batch_records", Help: "Records in a batch.", Buckets: prometheus.ExponentialBuckets(1, 4, 9),
		}, []string{"group"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onehop_ingest_batch_seconds", Help: "Time to process a batch.", Buckets: prometheus.ExponentialBuckets(.0005, 3, 10),
		}, []string{"group"}),
		fresh: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onehop_ingest_freshness_seconds", Help: "Age of a batch's newest record when its effects became visible.", Buckets: prometheus.ExponentialBuckets(.001, 3, 12),
		}, []string{"group", "source"}),
		newest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "onehop_ingest_newest_record_seconds", Help: "Timestamp of the newest record whose effects are visible, in seconds since 1970: freshness is time() minus this.",
		}, []string{"group", "source"}),
	}
	m.view = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "onehop_ingest_view_newest_event_seconds", Help: "Event time of the last event folded into a view, in seconds since 1970: the view's freshness is time() minus this.",
	}, []string{"view", "generation"})
	m.gone = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "onehop_ingest_view_gone", Help: "1 for a view that needs events which Kafka no longer has: it is not folded and not served.",
	}, []string{"view", "generation"})
	r.MustRegister(m.view, m.gone, m.records, m.rejected, m.events, m.lag, m.batch, m.seconds, m.fresh, m.newest)
	return m
}

// observer takes in the batches of one consumer group.
func (m *metrics) observer(group string) func(string, string, int32, *stream.Batch, int64, time.Duration) {
	return func(topic, source string, partition int32, batch *stream.Batch, lag int64, took time.Duration) {
		n := float64(batch.To - batch.From)
		m.records.WithLabelValues(group, source).Add(n)
		m.rejected.WithLabelValues(group, source).Add(float64(len(batch.Rejected)))
		m.lag.WithLabelValues(group, topic, strconv.Itoa(int(partition))).Set(float64(lag))
		m.batch.WithLabelValues(group).Observe(n)
		m.seconds.WithLabelValues(group).Observe(took.Seconds())
		if batch.Newest > 0 {
			m.newest.WithLabelValues(group, source).Set(float64(batch.Newest) / 1e6)
			m.fresh.WithLabelValues(group, source).Observe(max(0, time.Since(time.UnixMicro(batch.Newest)).Seconds()))
		}
	}
}

func (m *metrics) goneView(v *ingest.View) {
	m.gone.WithLabelValues(v.Name, strconv.Itoa(v.Generation)).Set(1)
}

// visible notes the last event that is visible in the views of a source.
func (m *metrics) visible(views []*ingest.View, last *featurestore.Event) {
	for _, v := range views {
		m.view.WithLabelValues(v.Name, strconv.Itoa(v.Generation)).Set(float64(last.Time) / 1e6)
	}
}

func (m *metrics) folded(views []*ingest.View, before, after []ingest.Stats) {
	for i, v := range views {
		b, a, generation := before[i], after[i], strconv.Itoa(v.Generation)
		for outcome, n := range map[string]int64{
			"folded": a.Folded - b.Folded, "late": a.Late - b.Late, "duplicate": a.Duplicates - b.Duplicates,
			"skipped": a.Skipped - b.Skipped, "conflict": a.Conflicts - b.Conflicts, "overtaken": a.Overtaken - b.Overtaken,
		} {
			m.events.WithLabelValues(v.Name, generation, outcome).Add(float64(n))
		}
	}
}
