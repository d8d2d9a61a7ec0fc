package dev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/devstack"
	"github.com/onehop/onehop/internal/telemetry"
)

// environment is the running process.
type environment struct {
	config      Config
	namespace   string
	stack       *devstack.Stack
	definitions *definitions // nil when there are none to apply
	addresses   Addresses
}

// Run runs everything until the context ends, or a part of it does. It then stops the
// services first and the servers after them.
func Run(ctx context.Context, c Config) (err error) {
	c.Log, c.Out = &lockedWriter{w: c.Log}, &lockedWriter{w: c.Out}
	if err := c.findDirs(); err != nil {
		return err
	}
	e := &environment{config: c, namespace: cmp.Or(c.Namespace, "default")}
	if c.Definitions != "" {
		// Read before anything is started: mistakes are told at once.
		if e.definitions, err = newDefinitions(c); err != nil {
			return err
		}
		e.namespace = e.definitions.catalog.Namespace
	}
	log := telemetry.NewLogger(c.Log, c.LogFormat, c.LogLevel)
	fmt.Fprintln(c.Out, "Starting …")
	if e.stack, err = startStack(ctx, c, log); err != nil {
		if ctx.Err() != nil { // what was under way fails in ways that nobody needs to know
			return errors.New("stopped while starting")
		}
		return err
	}
	defer func() {
		fmt.Fprintln(c.Out, "Stopping the servers …")
		err = errors.Join(err, e.stack.Stop())
	}()
	return e.run(ctx)
}

func startStack(ctx context.Context, c Config, log *slog.Logger) (*devstack.Stack, error) {
	return devstack.Start(ctx, devstack.Config{
		Kafka: strings.Join(c.Kafka, ","), Redis: c.Redis, Postgres: c.Postgres,
		DataDir: c.Data, RealKafka: c.RealKafka, Log: log,
	})
}

// run applies the definitions and runs the services on the started servers.
func (e *environment) run(ctx context.Context) error {
	e.addresses = Addresses{
		Kafka: e.stack.KafkaBrokers, Redis: e.stack.RedisURL, Postgres: e.stack.PostgresURL,
		Public: map[string]string{}, Admin: map[string]string{},
	}
	if e.definitions != nil {
		if err := e.definitions.start(ctx, e.stack.PostgresURL); err != nil {
			return err
		}
		defer e.definitions.stop()
	}
	services := e.services(ctx)
	group, ctx := errgroup.WithContext(ctx)
	started := make(chan report, len(services))
	for _, s := range services {
		group.Go(func() error {
			err := s.run(ctx, func(public, admin string) { started <- report{s.name, public, admin} })
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		})
	}
	group.Go(func() error {
		if err := e.announce(ctx, started, len(services)); err != nil || e.definitions == nil {
			return err
		}
		return e.definitions.watch(ctx)
	})
	group.Go(func() error {
		select {
		case err := <-e.stack.Failed():
			return err
		case <-ctx.Done():
			fmt.Fprintln(e.config.Out, "\nStopping the services …")
			return nil
		}
	})
	return group.Wait()
}

// report is a service's word that it has started, and where.
type report struct{ service, public, admin string }

// readyTimeout bounds how long the addresses are held back while services get ready.
const readyTimeout = 20 * time.Second

// announce waits until all services have started and are ready, and says where they
// are.
func (e *environment) announce(ctx context.Context, started <-chan report, services int) error {
	for range services {
		select {
		case r := <-started:
			if r.public != "" {
				e.addresses.Public[r.service] = app.LocalURL(r.public)
			}
			e.addresses.Admin[r.service] = app.LocalURL(r.admin)
		case <-ctx.Done():
			return nil
		}
	}
	if e.definitions != nil { // without, nothing will be ready until somebody applies some
		ready, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		for _, admin := range e.addresses.Admin {
			waitReady(ready, admin+"/readyz")
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	e.write(e.config.Out)
	if e.config.Started != nil {
		e.config.Started(e.addresses)
	}
	return nil
}

// lockedWriter lets several services write to one stream. A nil stream drops all.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *lockedWriter) Write(p []byte) (int, error) {
	if l.w == nil {
		return len(p), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
