// Package telemetry is what operators run already, once for all services: a logger, a
// Prometheus registry and, when a collector is named, OpenTelemetry traces.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.26.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Telemetry is one service's logger, metrics and traces.
type Telemetry struct {
	Log     *slog.Logger
	Metrics *prometheus.Registry
	// Tracer makes spans; it does nothing when there is no collector.
	Tracer trace.TracerProvider
	// Tracing says whether there is a collector.
	Tracing  bool
	shutdown func(context.Context) error
}

// Options say what to make. The zero value logs text at level info.
type Options struct {
	Service string
	// Format is "text" or "json", Level "debug", "info", "warn" or "error".
	Format, Level string
	// Collector is the host:port of an OTLP collector; empty for no traces.
	Collector string
	// Output takes the log.
	Output io.Writer
}

// New makes a service's telemetry. Close flushes its traces.
func New(ctx context.Context, o Options) (*Telemetry, error) {
	t := &Telemetry{
		Log:      NewLogger(o.Output, o.Format, o.Level).With("service", o.Service),
		Metrics:  prometheus.NewRegistry(),
		Tracer:   noop.NewTracerProvider(),
		shutdown: func(context.Context) error { return nil },
	}
	t.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if o.Collector == "" {
		return t, nil
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(o.Collector), otlptracegrpc.WithInsecure())
	if err != nil {
		return nil, fmt.Errorf("the trace exporter for %s: %w", o.Collector, err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("onehop-"+o.Service))))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	t.Tracer, t.Tracing, t.shutdown = provider, true, provider.Shutdown
	return t, nil
}

// Close sends what traces are left.
func (t *Telemetry) Close(ctx context.Context) error {
	if err := t.shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last traces: %w", err)
	}
	return nil
}

// NewLogger logs to w in a format, "text" or "json", from a level on.
func NewLogger(w io.Writer, format, level string) *slog.Logger {
	var l slog.Level
	if l.UnmarshalText([]byte(level)) != nil {
		l = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
