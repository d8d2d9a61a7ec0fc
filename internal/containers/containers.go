// Package containers starts Kafka, Redis and PostgreSQL in containers, from the official images or those that the
// environment variables ONEHOP_IMAGE_KAFKA, ONEHOP_IMAGE_REDIS and ONEHOP_IMAGE_POSTGRES name. It needs a Docker engine;
// engine.sh beside this file starts one and build-images.sh makes images where none can be pulled.
package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-connections/nat"
	"github.com/testcontainers/testcontainers-go"
)

const (
	// startTimeout bounds a start, once the image is there.
	startTimeout = 2 * time.Minute
	// stopTimeout bounds the removal of a container.
	stopTimeout = 30 * time.Second
	readyPoll   = 50 * time.Millisecond
	readyTry    = 3 * time.Second
	logTail     = 4096
)

// Server is a server in a container that this process owns. Its methods may be called by several goroutines.
type Server struct {
	name, image string
	url         string
	version     string
	container   testcontainers.Container

	mu      sync.Mutex
	stopped bool
}

// Name of the server as its makers write it.
func (s *Server) Name() string { return s.name }

// Image is the name of the image that the container was made from.
func (s *Server) Image() string { return s.image }

// Version is what the server says of itself; of Kafka only the first two numbers.
func (s *Server) Version() string { return s.version }

// URL is what clients are configured with: redis://… or postgres://…; for Kafka, which has no URLs, host:port.
func (s *Server) URL() string { return s.url }

// Stop kills the server and removes its container. It may be called any number of times.
func (s *Server) Stop() error { return s.remove(context.Background()) }

func (s *Server) remove(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.container.Terminate(ctx, testcontainers.StopTimeout(0)); err != nil {
		return fmt.Errorf("remove the container of %s: %w", s.name, err)
	}
	return nil
}

// Available returns nil when a Docker engine answers, and otherwise an error that says what to do.
func Available(ctx context.Context) (err error) {
	defer func() {
		if failure := recover(); failure != nil { // How testcontainers reports that there is no engine.
			err = noEngine(fmt.Errorf("%v", failure))
		}
	}()
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return noEngine(err)
	}
	if err := errors.Join(provider.Health(ctx), provider.Close()); err != nil {
		return noEngine(err)
	}
	return nil
}

func noEngine(err error) error {
	return fmt.Errorf("no Docker engine answers: start Docker, or as root run `eval \"$(internal/containers/engine.sh)\"`: %w",
		err)
}

// recipe is what sets one kind of server apart from the others.
type recipe struct {
	name    string
	request testcontainers.ContainerRequest
	port    string                                                            // as the container sees it, "6379/tcp"; empty: the URL is known
	url     func(hostPort string) string                                      // from host:port as we see it
	ready   func(ctx context.Context, url string) (version string, err error) // one round trip
}

// start runs the container and waits until the server answers.
func start(ctx context.Context, r recipe) (*Server, error) {
	if err := Available(ctx); err != nil {
		return nil, err
	}
	container, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: r.request, Started: true, Logger: quiet{},
	})
	s := &Server{name: r.name, image: r.request.Image, container: container}
	if err != nil {
		err = fmt.Errorf("start %s from image %s: %w; where it can't be pulled, run "+
			"`eval \"$(internal/containers/build-images.sh)\"`", r.name, r.request.Image, err)
		if container != nil {
			err = errors.Join(err, s.remove(ctx))
		}
		return nil, err
	}
	if err := s.waitReady(ctx, r); err != nil {
		err = fmt.Errorf("start %s from image %s: %w; its log ends with:\n%s", r.name, r.request.Image, err, s.log(ctx))
		return nil, errors.Join(err, s.remove(ctx))
	}
	return s, nil
}

func (s *Server) waitReady(ctx context.Context, r recipe) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	hostPort := ""
	if r.port != "" {
		endpoint, err := s.container.PortEndpoint(ctx, nat.Port(r.port), "")
		if err != nil {
			return err
		}
		hostPort = endpoint
	}
	s.url = r.url(hostPort)
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		try, cancelTry := context.WithTimeout(ctx, readyTry)
		version, err := r.ready(try, s.url)
		cancelTry()
		if err == nil {
			s.version = version
			return nil
		}
		if state, stateErr := s.container.State(ctx); stateErr == nil && !state.Running {
			return fmt.Errorf("it ended by itself: %w", err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("it doesn't answer: %w", context.Cause(ctx)), err)
		case <-tick.C:
		}
	}
}

// log returns the end of the container's output.
func (s *Server) log(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, readyTry)
	defer cancel()
	logs, err := s.container.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(logs)
	if err := errors.Join(err, logs.Close()); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-logTail):]))
}

// quiet drops what testcontainers tells of its progress.
type quiet struct{}

// Printf implements the logger of testcontainers.
func (quiet) Printf(string, ...any) {}

func image(variable, official string) string {
	if name := os.Getenv(variable); name != "" {
		return name
	}
	return official
}
