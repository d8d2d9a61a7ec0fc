package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/app/infer"
	"github.com/onehop/onehop/internal/app/ingest"
	"github.com/onehop/onehop/internal/app/serve"
	"github.com/onehop/onehop/internal/config"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// readyWithin bounds the start of the services.
const readyWithin = time.Minute

// services is what the services need besides the stack.
type services struct {
	library, models, logs string
}

// bound tells where a service listens.
type bound struct{ name, public, admin string }

// startServices starts the three services as their commands do, and waits until they
// are ready to work.
func (s *stack) startServices(v services) error {
	common := config.Common{
		Namespace: s.catalog.Namespace, Postgres: s.servers.PostgresURL, Redis: s.servers.RedisURL,
		AdminListen: "127.0.0.1:0", StartupTimeout: 30 * time.Second, DrainTimeout: 5 * time.Second,
		LogFormat: "text", LogLevel: "info",
	}
	kafka, listen := config.Kafka{Kafka: s.servers.KafkaBrokers}, config.Listen{Listen: "127.0.0.1:0"}
	where := make(chan bound, 3)
	told := func(name string) func(string, string) {
		return func(public, admin string) { where <- bound{name, public, admin} }
	}
	err := errors.Join(
		s.service(v.logs, "ingest", func(ctx context.Context, log io.Writer) error {
			return ingest.Run(ctx, ingest.Config{
				Common: common, Kafka: kafka, MemoryMB: 256, Groups: []string{"online", "history"}, Heartbeat: time.Second, MaxRecords: 20000, Partitions: partitions,
				Log: log, Started: func(admin string) { where <- bound{"ingest", "", admin} },
			})
		}),
		s.service(v.logs, "serve", func(ctx context.Context, log io.Writer) error {
			return serve.Run(ctx, serve.Config{Common: common, Kafka: kafka, Listen: listen, Log: log, Started: told("serve")})
		}),
		s.service(v.logs, "infer", func(ctx context.Context, log io.Writer) error {
			return infer.Run(ctx, infer.Config{
				Common: common, Listen: listen, Models: v.models, ONNXRuntime: v.library, Refresh: 2 * time.Second,
				Log: log, Started: told("infer"),
			})
		}),
	)
	if err != nil {
		return err
	}
	return s.ready(where)
}

// service runs a service with a log file of its own; if it ends, everything does.
func (s *stack) service(logs, name string, run func(context.Context, io.Writer) error) error {
	log, err := os.Create(filepath.Join(logs, name+".log"))
	if err != nil {
		return fmt.Errorf("the log of %s: %w", name, err)
	}
	s.group.Go(func() error {
		err := run(s.ctx, log)
		if err == nil && s.ctx.Err() == nil {
			err = errors.New("it ended by itself")
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			s.cancel(err)
		}
		return errors.Join(err, log.Close())
	})
	return nil
}

// ready waits until the services say that they are ready and the model is loaded.
func (s *stack) ready(where <-chan bound) error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, readyWithin, fmt.Errorf("the services were not ready within %s", readyWithin))
	defer cancel()
	urls := map[string]bound{}
	for len(urls) < 3 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b := <-where:
			urls[b.name] = b
		}
	}
	s.addresses = addresses{
		Namespace: s.catalog.Namespace,
		Serve:     app.LocalURL(urls["serve"].public), Infer: app.LocalURL(urls["infer"].public),
		Kafka: s.servers.KafkaBrokers, Redis: s.servers.RedisURL, Postgres: s.servers.PostgresURL, Admin: map[string]string{},
	}
	s.connect(s.addresses.Serve, s.addresses.Infer)
	for name, b := range urls {
		s.addresses.Admin[name] = app.LocalURL(b.admin)
		err := every(ctx, 20*time.Millisecond, func() (bool, error) { return s.isReady(ctx, app.LocalURL(b.admin)) })
		if err != nil {
			return err
		}
	}
	return every(ctx, 20*time.Millisecond, func() (bool, error) { return s.modelLoaded(ctx) })
}

func (s *stack) isReady(ctx context.Context, admin string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
	if err != nil {
		return false, err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return false, err
	}
	return res.StatusCode == http.StatusOK, res.Body.Close()
}

func (s *stack) modelLoaded(ctx context.Context) (bool, error) {
	res, err := s.inference.ListModels(ctx, &onehopv1.ListModelsRequest{})
	if err != nil {
		return false, err
	}
	for _, m := range res.GetModels() {
		if m.GetName() == model && m.GetProblem() != "" {
			return false, fmt.Errorf("model %s version %d: %s", m.GetName(), m.GetVersion(), m.GetProblem())
		}
		if m.GetName() == model && m.GetDefault() {
			return true, nil
		}
	}
	return false, nil
}
