// Package app is what the services have in common when they start: telemetry, the
// connections to Postgres and Redis, and the definitions that they follow. Each
// service is a package below it with Run(ctx, config).
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/internal/server"
	"github.com/onehop/onehop/internal/telemetry"
	"github.com/onehop/onehop/migrations"
)

// Base is a started service's footing. Close gives everything back.
type Base struct {
	*telemetry.Telemetry
	Common   config.Common
	Health   *server.Health
	Pool     *pgxpool.Pool
	Redis    redis.UniversalClient
	Store    *online.Store
	Follower *registry.Follower

	admin    *server.Server
	stop     context.CancelFunc // ends the admin address
	adminErr chan error         // why it ended
}

// Start connects a service. It waits for servers that do not answer, up to the
// startup timeout, and then says which one and what to do. The admin address answers from
// the beginning: its /readyz says what is being waited for.
func Start(ctx context.Context, service string, common config.Common, log io.Writer) (*Base, error) {
	t, err := telemetry.New(ctx, telemetry.Options{
		Service: service, Format: common.LogFormat, Level: common.LogLevel, Collector: common.Trace, Output: log,
	})
	if err != nil {
		return nil, err
	}
	b := &Base{Telemetry: t, Common: common, Health: server.NewHealth()}
	if err := b.listen(ctx); err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	if b.Redis, err = online.Connect(ctx, common.Redis); err != nil {
		return nil, errors.Join(errors.New("--redis: the URL is not valid"), b.Close(ctx))
	}
	// Each has the whole time, so that one that is away does not accuse the other.
	within := func(connect func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, common.StartupTimeout)
		defer cancel()
		return connect(ctx)
	}
	if err := errors.Join(within(b.connectPostgres), within(b.openStore)); err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, common.StartupTimeout)
	defer cancel()
	if b.Follower, err = registry.Follow(ctx, registry.New(b.Pool, common.Namespace), common.Snapshot, t.Log); err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	b.Health.NotReady("starting")
	return b, nil
}

// listen serves the admin address until Close.
func (b *Base) listen(ctx context.Context) (err error) {
	if b.admin, err = server.Listen(ctx, b.Common.AdminListen, server.Admin(b.Health, b.Metrics), b.Log); err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx)) // the last scrape may come after the signal
	b.adminErr = make(chan error, 1)
	go func() { b.adminErr <- b.admin.Serve(ctx, time.Second) }()
	return nil
}

// Close ends the admin address, closes the connections and flushes traces.
func (b *Base) Close(ctx context.Context) error {
	var err error
	if b.stop != nil {
		b.stop()
		err = <-b.adminErr
	}
	if b.Redis != nil {
		err = errors.Join(err, b.Redis.Close())
	}
	if b.Pool != nil {
		b.Pool.Close()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, b.Telemetry.Close(ctx))
}

// connectPostgres connects and migrates. A Postgres that is away is no failure when
// there is a snapshot of the definitions to start from.
func (b *Base) connectPostgres(ctx context.Context) error {
	pool, err := OpenPool(ctx, b.Common.Postgres, b.Telemetry)
	if err != nil {
		return err
	}
	b.Pool = pool
	wait := b.Common.StartupTimeout
	if b.Common.Snapshot != "" {
		wait = min(wait, 3*time.Second)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = b.retry(ctx, "Postgres", b.Common.Postgres, func() error {
		_, err := migrations.Up(ctx, pool)
		return err
	})
	if err == nil || b.Common.Snapshot != "" {
		return nil // registry.Follow will say so, and use the snapshot
	}
	return fmt.Errorf("no answer from Postgres at %s: start it, or set --postgres (ONEHOP_POSTGRES): %w", hostOf(b.Common.Postgres), err)
}

// CancelQueries is an option of OpenPool for queries that run long: when a query's context
// ends, Postgres is told to stop it too. Else it goes on until it has something to send.
func CancelQueries(c *pgxpool.Config) {
	c.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 5 * time.Second}
	}
}

// OpenPool makes a pool of connections; it connects when first used. t may be nil.
func OpenPool(ctx context.Context, url string, t *telemetry.Telemetry, options ...func(*pgxpool.Config)) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("--postgres: the URL is not valid")
	}
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	if t != nil {
		tracers := []pgx.QueryTracer{telemetry.NewPostgresTracer(t.Metrics)}
		if t.Tracing {
			tracers = append(tracers, otelpgx.NewTracer(otelpgx.WithTracerProvider(t.Tracer)))
		}
		config.ConnConfig.Tracer = multitracer.New(tracers...)
	}
	for _, option := range options {
		option(config)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("the pool of Postgres connections: %w", err)
	}
	return pool, nil
}

func (b *Base) openStore(ctx context.Context) error {
	b.Redis.AddHook(telemetry.NewRedisHook(b.Metrics))
	if b.Tracing {
		if err := redisotel.InstrumentTracing(b.Redis, redisotel.WithTracerProvider(b.Tracer)); err != nil {
			return fmt.Errorf("tracing Redis: %w", err)
		}
	}
	err := b.retry(ctx, "Redis", b.Common.Redis, func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, online.MaxRead)
		defer cancel()
		b.Store, err = online.Open(ctx, b.Redis)
		return err
	})
	if err != nil {
		return fmt.Errorf("no Redis to use at %s: start it, or set --redis (ONEHOP_REDIS): %w", hostOf(b.Common.Redis), err)
	}
	b.Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "onehop_read_refused_total", Help: "Reads of rows refused because they would not have ended by their deadlines.",
	}, func() float64 { return float64(b.Store.Refused()) }))
	return nil
}

// patience is how long a server is waited for before the log tells of it.
const patience = time.Second

// retry calls f until it succeeds or the context ends, and returns f's last error. It
// says once in the log, and on /readyz, what it waits for: a start that hangs in silence
// tells nobody anything.
func (b *Base) retry(ctx context.Context, server, url string, f func() error) error {
	pause, began := 50*time.Millisecond, time.Now()
	for said := false; ; {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		b.Health.NotReady(fmt.Sprintf("waiting for %s at %s: %v", server, hostOf(url), err))
		if !said && time.Since(began) > patience {
			b.Log.Warn("waiting for a server that cannot be used yet", "server", server, "error", err)
			said = true
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		pause = min(2*pause, time.Second)
	}
}

// hostOf is the host of a URL, without its password.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the configured address"
	}
	return u.Host
}

// Serve runs the follower of definitions and the service's own parts until the context ends
// or one of them, or the admin address, fails. started, when not nil, is told the admin
// address.
func (b *Base) Serve(ctx context.Context, started func(admin string), parts ...func(context.Context) error) error {
	b.Log.Info("started", "admin", b.admin.Addr(), "namespace", b.Common.Namespace)
	if started != nil {
		started(b.admin.Addr())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		select {
		case err := <-b.adminErr:
			b.adminErr <- nil // for Close
			return err
		case <-ctx.Done():
			return nil
		}
	})
	group.Go(func() error { return b.Follower.Run(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		b.Health.NotReady("shutting down") // so that nobody sends new work while it drains
		return nil
	})
	for _, part := range parts {
		group.Go(func() error { return part(ctx) })
	}
	return group.Wait()
}

// LocalURL is how a client on this machine reaches a bound address.
func LocalURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
