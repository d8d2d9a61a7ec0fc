package telemetry

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// storeBuckets span 50 µs to 10 s.
var storeBuckets = []float64{.00005, .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5, 10}

// RedisHook measures every call to Redis.
type RedisHook struct {
	seconds *prometheus.HistogramVec
	errors  prometheus.Counter
}

// NewRedisHook registers the metrics of a client of Redis.
func NewRedisHook(metrics prometheus.Registerer) *RedisHook {
	h := &RedisHook{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onehop_redis_seconds", Help: "Time of calls to Redis, a pipeline counting as one.", Buckets: storeBuckets,
		}, []string{"command"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{Name: "onehop_redis_errors_total", Help: "Calls to Redis that failed."}),
	}
	metrics.MustRegister(h.seconds, h.errors)
	return h
}

// DialHook leaves dialling as it is.
func (h *RedisHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook measures a command.
func (h *RedisHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmd)
		h.observe(cmd.Name(), start, err)
		return err
	}
}

// ProcessPipelineHook measures a pipeline.
func (h *RedisHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmds)
		h.observe("pipeline", start, err)
		return err
	}
}

func (h *RedisHook) observe(command string, start time.Time, err error) {
	h.seconds.WithLabelValues(command).Observe(time.Since(start).Seconds())
	if err != nil && !errors.Is(err, redis.Nil) {
		h.errors.Inc()
	}
}

// PostgresTracer measures every statement and COPY; it is a pgx tracer.
type PostgresTracer struct {
	seconds *prometheus.HistogramVec
	errors  prometheus.Counter
}

// NewPostgresTracer registers the metrics of a pool of Postgres connections.
func NewPostgresTracer(metrics prometheus.Registerer) *PostgresTracer {
	t := &PostgresTracer{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onehop_postgres_seconds", Help: "Time of statements in Postgres, by their first word.", Buckets: storeBuckets,
		}, []string{"statement"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{Name: "onehop_postgres_errors_total", Help: "Statements in Postgres that failed."}),
	}
	metrics.MustRegister(t.seconds, t.errors)
	return t
}

type statementKey struct{}

type statement struct {
	word  string
	start time.Time
}

// TraceQueryStart notes the statement.
func (t *PostgresTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	word, _, _ := strings.Cut(strings.TrimSpace(data.SQL), " ")
	return context.WithValue(ctx, statementKey{}, statement{word: strings.ToLower(strings.TrimSpace(word)), start: time.Now()})
}

// TraceQueryEnd measures the statement.
func (t *PostgresTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	t.observe(ctx, data.Err)
}

// TraceCopyFromStart notes a COPY.
func (t *PostgresTracer) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	return context.WithValue(ctx, statementKey{}, statement{word: "copy", start: time.Now()})
}

// TraceCopyFromEnd measures a COPY.
func (t *PostgresTracer) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceCopyFromEndData) {
	t.observe(ctx, data.Err)
}

func (t *PostgresTracer) observe(ctx context.Context, err error) {
	if s, ok := ctx.Value(statementKey{}).(statement); ok {
		t.seconds.WithLabelValues(s.word).Observe(time.Since(s.start).Seconds())
	}
	if err != nil {
		t.errors.Inc()
	}
}
