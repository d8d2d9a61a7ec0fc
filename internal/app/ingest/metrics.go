package ingest

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
)

// metrics are what an operator asks of ingest.
type metrics struct {
	records, rejected, events, lost, fills *prometheus.CounterVec
	batch, seconds, fresh, rebalance       *prometheus.HistogramVec
	newest, view, gone                     *prometheus.GaugeVec
	owned                                  *owned
	shown                                  []*ingest.View // whose gauges there may be
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_ingest_records_total", Help: "Records processed, by group (online, history) and source.",
		}, []string{"group", "source"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_ingest_rejected_total", Help: "Records that could not be accepted and went to the dead-letter topic, by kind of reason.",
		}, []string{"group", "source", "reason"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_ingest_view_events_total", Help: "Events by what became of them in a view: folded (late ones among them), late, duplicate, or skipped as already there; commits in conflict over a row, and commits overtaken by another owner of the partition.",
		}, []string{"view", "generation", "outcome"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_ingest_watermark_regressions_total", Help: "Times that Redis knew less than it had confirmed, or nothing: it lost writes, and the partition was read again.",
		}, []string{"source"}),
		fills: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_ingest_view_filled_partitions_total", Help: "Partitions whose part of the fill of a generation was done by this process.",
		}, []string{"view", "generation"}),
		rebalance: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onehop_ingest_rebalance_seconds", Help: "Time from when the group assigned a partition to this process until it was open and read.", Buckets: prometheus.ExponentialBuckets(.001, 4, 9),
		}, []string{"group"}),
		owned: newOwned(),
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
	r.MustRegister(m.view, m.gone, m.records, m.rejected, m.events, m.lost, m.fills, m.rebalance, m.batch, m.seconds, m.fresh, m.newest, m.owned)
	return m
}

// observer takes in the batches of one consumer group.
func (m *metrics) observer(group string) func(string, *stream.Batch, time.Duration) {
	return func(source string, batch *stream.Batch, took time.Duration) {
		n := float64(batch.To - batch.From)
		m.records.WithLabelValues(group, source).Add(n)
		for _, r := range batch.Rejected {
			m.rejected.WithLabelValues(group, source, string(stream.KindOf(r.Reason))).Inc()
		}
		m.batch.WithLabelValues(group).Observe(n)
		m.seconds.WithLabelValues(group).Observe(took.Seconds())
		if batch.Newest > 0 {
			m.newest.WithLabelValues(group, source).Set(float64(batch.Newest) / 1e6)
			m.fresh.WithLabelValues(group, source).Observe(max(0, time.Since(time.UnixMicro(batch.Newest)).Seconds()))
		}
	}
}

// follow begins the series of a source in a group at 0: a rate needs a value before the
// first record is refused.
func (m *metrics) follow(group, source string) {
	m.records.WithLabelValues(group, source)
	for _, kind := range stream.Kinds() {
		m.rejected.WithLabelValues(group, source, string(kind))
	}
	m.lost.WithLabelValues(source)
}

// keep drops the gauges of generations that are no longer folded.
func (m *metrics) keep(views []*ingest.View) {
	kept := map[generation]bool{}
	for _, v := range views {
		kept[generation{v.Name, v.Generation}] = true
	}
	for _, v := range m.shown {
		if !kept[generation{v.Name, v.Generation}] {
			m.view.DeleteLabelValues(v.Name, strconv.Itoa(v.Generation))
		}
	}
	m.shown = views
}

// worked notes what became of the opening of a partition, a batch or a heartbeat.
func (m *metrics) worked(w *onlineWorker, err error) {
	if errors.Is(err, ingest.ErrLost) {
		m.lost.WithLabelValues(w.source.Name).Inc()
	}
	if err != nil {
		return
	}
	for _, v := range m.owned.fill(w.source.Topic, w.id.Partition, w.views, w.partition.Filling()) {
		m.fills.WithLabelValues(v.Name, strconv.Itoa(v.Generation)).Inc()
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
