package rpc

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/otelconnect"
	"connectrpc.com/validate"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"

	"github.com/onehop/onehop/internal/server"
	"github.com/onehop/onehop/internal/telemetry"
)

// maxMessage bounds a request's size on the wire and after decompression.
const maxMessage = 16 << 20

// compressFrom is the size, in bytes, from which on answers are compressed for callers
// who take that. A ranker's answer is a kilobyte or two, and compressing it would take
// longer than everything else in the call.
const compressFrom = 64 << 10

// CompressionOption says from which size on answers are compressed.
func CompressionOption() connect.HandlerOption { return connect.WithCompressMinBytes(compressFrom) }

// Options are the handler options that every service shares: errors become codes,
// messages are validated, JSON has no unknown fields, requests are measured and, with a collector, traced.
func Options(t *telemetry.Telemetry) ([]connect.HandlerOption, error) {
	interceptors := []connect.Interceptor{newMeasure(t.Metrics), &errorInterceptor{log: t.Log}, validate.NewInterceptor()}
	if t.Tracing {
		tracing, err := otelconnect.NewInterceptor(otelconnect.WithTracerProvider(t.Tracer),
			otelconnect.WithPropagator(propagation.TraceContext{}), otelconnect.WithoutMetrics(), otelconnect.WithTrustRemote())
		if err != nil {
			return nil, err
		}
		interceptors = append([]connect.Interceptor{tracing}, interceptors...)
	}
	return []connect.HandlerOption{connect.WithInterceptors(interceptors...), connect.WithReadMaxBytes(maxMessage), CompressionOption(), gzipOption(), strictJSONOption()}, nil
}

// Mux is a service's public handler: its RPCs, of which it bounds how many are answered at a time, gRPC health and reflection, and
// the health pages.
func Mux(health *server.Health, metrics prometheus.Registerer, service string, path string, handler http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle(path, newBound(handler, maxRequests, metrics))
	health.Register(mux)
	mux.Handle(grpchealth.NewHandler(checker{health: health, service: service}))
	reflector := grpcreflect.NewStaticReflector(service, grpchealth.HealthV1ServiceName)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	return mux
}

// checker answers gRPC health checks.
type checker struct {
	health  *server.Health
	service string
}

// Check says whether the service, or the whole server (""), can do its work.
func (c checker) Check(_ context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if req.Service != "" && req.Service != c.service {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("unknown service"))
	}
	if c.health.Problem() != "" {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

// measure counts and times requests by procedure and code.
type measure struct {
	seconds *prometheus.HistogramVec
}

func newMeasure(r prometheus.Registerer) *measure {
	m := &measure{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "onehop_rpc_seconds", Help: "Time to answer a request, by procedure and code; its count is the rate.",
		Buckets: []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5},
	}, []string{"procedure", "code"})}
	r.MustRegister(m.seconds)
	return m
}

// WrapUnary implements connect.Interceptor.
func (m *measure) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		start := time.Now()
		res, err := next(ctx, req)
		m.observe(req.Spec(), start, err)
		return res, err
	}
}

func (m *measure) observe(spec connect.Spec, start time.Time, err error) {
	code := "ok"
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	m.seconds.WithLabelValues(spec.Procedure, code).Observe(time.Since(start).Seconds())
}

// WrapStreamingClient implements connect.Interceptor.
func (m *measure) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (m *measure) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		start := time.Now()
		err := next(ctx, conn)
		m.observe(conn.Spec(), start, err)
		return err
	}
}
