package bench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// IngestOptions configure [Ingest].
type IngestOptions struct {
	// Events is how many events are ingested; 0 means 400,000.
	Events int
	// Probes is how many single events are followed from Kafka to Redis; 0 means 200.
	Probes int
	// Progress takes lines about what is being done.
	Progress io.Writer
}

// IngestResult is what [Ingest] measures.
type IngestResult struct {
	EventsPerSecond float64 `json:"events_per_s"`
	Floor           float64 `json:"floor_events_per_s"`
	Ratio           float64 `json:"ratio"`
	OnlineRatio     float64 `json:"online_ratio"`
	HistoryRatio    float64 `json:"history_ratio"`
	FreshnessP50    float64 `json:"freshness_p50_ms"`
	FreshnessP99    float64 `json:"freshness_p99_ms"`
	BytesPerRow     float64 `json:"redis_bytes_per_row"`

	// The two halves, ours and the floor's.
	Online       float64 `json:"online_events_per_s"`
	History      float64 `json:"history_events_per_s"`
	FloorOnline  float64 `json:"floor_online_events_per_s"`
	FloorHistory float64 `json:"floor_history_events_per_s"`
	// What was done.
	Events      int     `json:"events"`
	RowsWritten int64   `json:"rows_written"`
	RowBytes    float64 `json:"row_bytes_mean"`
	Kafka       string  `json:"kafka"`
}

// Ingest measures the ingest service on generated ratings, two views with three windows
// each, into real Redis and real Postgres. The floor does what cannot be left out: it
// consumes and decodes the same records, writes as many rows of the same size by
// pipelined SET, and copies the same history rows; both halves side by side, as the
// service does them.
func Ingest(ctx context.Context, o IngestOptions) (*IngestResult, error) {
	if o.Events == 0 {
		o.Events = 400_000
	}
	if o.Probes == 0 {
		o.Probes = 200
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	fmt.Fprintln(o.Progress, "starting Kafka, Redis and Postgres")
	s, err := startIngest(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	fmt.Fprintf(o.Progress, "producing %d events\n", o.Events)
	if err := s.produce(ctx, o.Events); err != nil {
		return nil, err
	}
	r := &IngestResult{Events: o.Events, Kafka: s.kafkaKind}
	fmt.Fprintln(o.Progress, "ingesting them")
	if err := s.ours(ctx, r); err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Progress, "following %d single events from Kafka to Redis\n", o.Probes)
	if err := s.probe(ctx, o.Probes, r); err != nil {
		return nil, err
	}
	if err := s.stopService(); err != nil {
		return nil, err
	}
	fmt.Fprintln(o.Progress, "the floor, on the same events")
	if err := s.floor(ctx, r); err != nil {
		return nil, err
	}
	r.EventsPerSecond, r.Floor = min(r.Online, r.History), min(r.FloorOnline, r.FloorHistory)
	r.Ratio, r.OnlineRatio, r.HistoryRatio = r.EventsPerSecond/r.Floor, r.Online/r.FloorOnline, r.History/r.FloorHistory
	return r, nil
}

// Write prints the result for a person.
func (r *IngestResult) Write(w io.Writer) {
	rate := func(v float64) string { return fmt.Sprintf("%.0f/s", v) }
	ratio := func(v float64) string { return fmt.Sprintf("%.2f", v) }
	fmt.Fprintf(w, "%d events through %s, %d rows of %.0f bytes written, %.0f bytes of Redis a row\n\n", r.Events, r.Kafka, r.RowsWritten, r.RowBytes, r.BytesPerRow)
	table(w, [][]string{
		{"", "events", "online (Redis)", "history (Postgres)"},
		{"ingest", rate(r.EventsPerSecond), rate(r.Online), rate(r.History)},
		{"floor", rate(r.Floor), rate(r.FloorOnline), rate(r.FloorHistory)},
		{"ratio", ratio(r.Ratio), ratio(r.OnlineRatio), ratio(r.HistoryRatio)},
	})
	fmt.Fprintf(w, "\nfrom Kafka to a visible row: p50 %.1f ms, p99 %.1f ms\n", r.FreshnessP50, r.FreshnessP99)
}

// perSecond is a rate since a start.
func perSecond(n int, since time.Time) float64 { return float64(n) / time.Since(since).Seconds() }
