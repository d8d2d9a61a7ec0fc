package bench

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"time"
)

// IngestOptions say how much to measure.
type IngestOptions struct {
	// Events is how many events are ingested; 0 means 2,000,000.
	Events int
	// Probes is how many single events are followed from Kafka to an answer of
	// GetOnlineFeatures; 0 means 300.
	Probes int
	// Rate is how many events a second flow meanwhile; 0 means 20,000.
	Rate float64
	// Progress takes lines about what is being done.
	Progress io.Writer
}

// IngestResult is what [Ingest] measured. Rates are events a second: from the moment when
// the service is ready until all events of the topic are in.
type IngestResult struct {
	// With both sinks at once; each is the slower half.
	EventsPerSecond float64 `json:"events_per_s"`
	Floor           float64 `json:"floor_events_per_s"`
	Ratio           float64 `json:"ratio"`
	// With one sink, and nothing else running.
	OnlineRatio  float64 `json:"online_ratio"`
	HistoryRatio float64 `json:"history_ratio"`
	Online       float64 `json:"online_events_per_s"`
	History      float64 `json:"history_events_per_s"`
	FloorOnline  float64 `json:"floor_online_events_per_s"`
	FloorHistory float64 `json:"floor_history_events_per_s"`
	// A tenth of all events is of one user and one movie, written from every partition.
	HotRatio     float64 `json:"hot_ratio"` // to the same without
	HotConflicts int64   `json:"hot_conflicts"`
	HotCommits   int64   `json:"hot_commits"`
	// From producing an event to reading it by GetOnlineFeatures, while Rate events a
	// second flow.
	FreshnessP50 float64 `json:"freshness_p50_ms"`
	FreshnessP99 float64 `json:"freshness_p99_ms"`
	BytesPerRow  float64 `json:"redis_bytes_per_row"`

	// What was done.
	Events      int     `json:"events"`
	Rate        float64 `json:"freshness_events_per_s"`
	RowsWritten int64   `json:"rows_written"`
	RowBytes    float64 `json:"row_bytes_mean"`
	Kafka       string  `json:"kafka"`
}

// Ingest measures the ingest service with real Kafka, Redis and Postgres, beside the floor:
// consuming and decoding the same records, as many rows of the same size written by
// pipelined SET, and COPY of the same history rows into a table without indexes. Ours and the
// floor take turns.
func Ingest(ctx context.Context, o IngestOptions) (*IngestResult, error) {
	if o.Events == 0 {
		o.Events = 2_000_000
	}
	if o.Probes == 0 {
		o.Probes = 300
	}
	if o.Rate == 0 {
		o.Rate = 20_000
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as cmd/ingest does, for ours and the floor
	fmt.Fprintln(o.Progress, "starting Kafka, Redis and Postgres")
	s, err := startIngest(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	r := &IngestResult{Events: o.Events, Rate: o.Rate, Kafka: s.kafkaKind}
	for _, phase := range []struct {
		says string
		do   func(context.Context, IngestOptions, *IngestResult) error
	}{
		{fmt.Sprintf("producing %d events", o.Events), s.produce},
		{"reading them once, to warm up", s.warmUp},
		{"ingesting them", s.both},
		{"into Redis alone", s.onlineAlone},
		{"into Postgres alone", s.historyAlone},
		{"with a hot key", s.hotKey},
		{fmt.Sprintf("following %d events from Kafka to an answer, among %.0f/s", o.Probes, o.Rate), s.freshness},
	} {
		fmt.Fprintln(o.Progress, phase.says)
		if err := phase.do(ctx, o, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// warmUp reads and decodes everything, and copies some of it: whoever comes first would find
// the servers cold.
func (s *ingestStack) warmUp(ctx context.Context, _ IngestOptions, r *IngestResult) error {
	_, err := s.floor(ctx, r, onlineGroup, historyGroup)
	return err
}

func (s *ingestStack) both(ctx context.Context, _ IngestOptions, r *IngestResult) error {
	ours, err := s.ours(ctx, r, onlineGroup, historyGroup)
	if err != nil {
		return err
	}
	floor, err := s.floor(ctx, r, onlineGroup, historyGroup)
	if err != nil {
		return err
	}
	r.EventsPerSecond, r.Floor = min(ours[onlineGroup], ours[historyGroup]), min(floor[onlineGroup], floor[historyGroup])
	r.Ratio = r.EventsPerSecond / r.Floor
	return nil
}

func (s *ingestStack) onlineAlone(ctx context.Context, _ IngestOptions, r *IngestResult) error {
	ours, err := s.ours(ctx, r, onlineGroup)
	if err != nil {
		return err
	}
	floor, err := s.floor(ctx, r, onlineGroup)
	if err != nil {
		return err
	}
	r.Online, r.FloorOnline = ours[onlineGroup], floor[onlineGroup]
	r.OnlineRatio = r.Online / r.FloorOnline
	return nil
}

func (s *ingestStack) historyAlone(ctx context.Context, _ IngestOptions, r *IngestResult) error {
	ours, err := s.ours(ctx, r, historyGroup)
	if err != nil {
		return err
	}
	floor, err := s.floor(ctx, r, historyGroup)
	if err != nil {
		return err
	}
	r.History, r.FloorHistory = ours[historyGroup], floor[historyGroup]
	r.HistoryRatio = r.History / r.FloorHistory
	return nil
}

// hotKey ingests the events, spread over the partitions whatever their keys, with and without
// a hot key.
func (s *ingestStack) hotKey(ctx context.Context, o IngestOptions, r *IngestResult) error {
	rate := func(namespace string, every int) (float64, error) {
		spread, err := s.inNamespace(ctx, namespace)
		if err != nil {
			return 0, err
		}
		if err := spread.produceSpread(ctx, o.Events, every); err != nil {
			return 0, err
		}
		ours, err := spread.ours(ctx, &IngestResult{Events: o.Events}, onlineGroup)
		r.HotConflicts, r.HotCommits = spread.conflicts, spread.commits
		return ours[onlineGroup], err
	}
	without, err := rate("benchspread", 0)
	if err != nil {
		return err
	}
	with, err := rate("benchhot", 10)
	r.HotRatio = with / without
	return err
}

// Write prints the result for a person.
func (r *IngestResult) Write(w io.Writer) {
	rate := func(v float64) string { return fmt.Sprintf("%.0f/s", v) }
	ratio := func(v float64) string { return fmt.Sprintf("%.2f", v) }
	fmt.Fprintf(w, "%d events through %s, %d rows of %.0f bytes written, %.0f bytes of Redis a row\n\n", r.Events, r.Kafka, r.RowsWritten, r.RowBytes, r.BytesPerRow)
	table(w, [][]string{
		{"", "both at once", "Redis alone", "Postgres alone"},
		{"ingest", rate(r.EventsPerSecond), rate(r.Online), rate(r.History)},
		{"floor", rate(r.Floor), rate(r.FloorOnline), rate(r.FloorHistory)},
		{"ratio", ratio(r.Ratio), ratio(r.OnlineRatio), ratio(r.HistoryRatio)},
	})
	fmt.Fprintf(w, "\nwith a tenth of the events on one key: %.2f of the rate, %d of %d commits met a rival\n", r.HotRatio, r.HotConflicts, r.HotCommits)
	fmt.Fprintf(w, "from Kafka to an answer at %.0f events/s: p50 %.1f ms, p99 %.1f ms\n", r.Rate, r.FreshnessP50, r.FreshnessP99)
}

func perSecond(n int, since time.Time) float64 { return float64(n) / time.Since(since).Seconds() }
