package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/internal/devstack"
	"github.com/onehop/onehop/migrations"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// partitions of each topic.
const partitions = 4

// stack is Onehop with all that it runs on.
type stack struct {
	ctx     context.Context //nolint:containedctx // It ends when a part fails, with that as the cause.
	cancel  context.CancelCauseFunc
	servers *devstack.Stack
	group   errgroup.Group
	log     *os.File
	catalog *featurestore.Catalog
	pool    *pgxpool.Pool
	kafka   *kgo.Client
	http    *http.Client

	addresses addresses
	features  onehopv1connect.FeatureServiceClient
	inference onehopv1connect.InferenceServiceClient

	calls []call // what recommend asked, to ask it again
}

// startStack brings everything up: servers, topics, definitions, services. When
// something fails, what is up is stopped.
func startStack(ctx context.Context, o options, logs string, p *progress) (*stack, error) {
	s := &stack{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	if err := s.start(o, logs, p); err != nil { //nolint:contextcheck // the stack has its own
		return nil, errors.Join(s.failure(err), s.stop())
	}
	return s, nil
}

func (s *stack) start(o options, logs string, p *progress) (err error) {
	if s.catalog, err = definition.Load(filepath.Join(o.Example, "definitions")); err != nil {
		return fmt.Errorf("%w; run the demo from the root of the repository, or give --example", err)
	}
	done := p.step("Getting ONNX Runtime")
	library, err := onnx.FindLibrary("")
	if err != nil {
		library, err = onnx.Fetch(s.ctx, p.line)
	}
	if done(); err != nil {
		return err
	}
	if s.log, err = os.Create(filepath.Join(logs, "servers.log")); err != nil {
		return err
	}
	done = p.step("Starting Kafka, Redis and Postgres")
	s.servers, err = devstack.Start(s.ctx, devstack.Config{DataDir: filepath.Join(logs, "data"), Log: slog.New(slog.NewTextHandler(s.log, nil))})
	if done(); err != nil {
		return err
	}
	s.group.Go(s.watchServers)
	done = p.step("Starting ingest, serve and infer")
	defer done()
	if err := s.prepare(); err != nil {
		return err
	}
	return s.startServices(services{library: library, models: filepath.Join(o.Example, "models"), logs: logs})
}

// prepare applies the definitions and makes their topics.
func (s *stack) prepare() (err error) {
	if s.pool, err = pgxpool.New(s.ctx, s.servers.PostgresURL); err != nil {
		return fmt.Errorf("connecting to Postgres: %w", err)
	}
	if _, err := migrations.Up(s.ctx, s.pool); err != nil {
		return err
	}
	if s.catalog, err = registry.New(s.pool, s.catalog.Namespace).Apply(s.ctx, s.catalog, time.Now()); err != nil {
		return err
	}
	if s.kafka, err = kgo.NewClient(kgo.SeedBrokers(s.servers.KafkaBrokers...), kgo.ProducerBatchMaxBytes(1<<20)); err != nil {
		return fmt.Errorf("the Kafka client: %w", err)
	}
	for i := range s.catalog.Sources {
		// The records are as old as their ratings; Kafka must not delete them for that.
		forever := map[string]string{"retention.ms": "-1"}
		if err := stream.EnsureTopic(s.ctx, s.kafka, s.catalog.Sources[i].Topic, partitions, forever); err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) connect(serve, infer string) {
	s.features = onehopv1connect.NewFeatureServiceClient(s.http, serve)
	s.inference = onehopv1connect.NewInferenceServiceClient(s.http, infer)
}

// watchServers ends the stack when a server ends by itself.
func (s *stack) watchServers() error {
	select {
	case <-s.ctx.Done():
	case err := <-s.servers.Failed():
		s.cancel(err)
	}
	return nil
}

// wait waits for Ctrl-C, which is no failure, or for a part that fails.
func (s *stack) wait() error {
	<-s.ctx.Done()
	if err := context.Cause(s.ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// failure is what made a step fail: the part that failed, if one did.
func (s *stack) failure(err error) error {
	if err != nil && s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return err
}

// stop stops everything, the services before what they need, and waits for it.
func (s *stack) stop() error {
	s.cancel(context.Canceled)
	err := s.group.Wait()
	s.http.CloseIdleConnections()
	if s.kafka != nil {
		s.kafka.Close()
	}
	if s.pool != nil {
		s.pool.Close()
	}
	if s.servers != nil {
		err = errors.Join(err, s.servers.Stop())
	}
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return err
}

// notYet says that a service answered that it isn't ready.
func notYet(err error) bool { return connect.CodeOf(err) == connect.CodeUnavailable }

// every calls f at once and then at every tick, until it says that it is done or fails.
func every(ctx context.Context, pause time.Duration, f func() (bool, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if done, err := f(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
