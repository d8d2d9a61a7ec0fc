// Package servers starts real servers as children of this process: Apache Kafka, Redis or PostgreSQL, one of a kind or a cluster
// of them, from binaries that are installed or from a package registry. It serves the tests, `onehop dev` and the benches; nothing on the serving path
// imports it. A server listens on 127.0.0.1 only, dies with this process, and can be killed, suspended and started again
// on the same port and data, for fault tests.
package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ErrNotInstalled is part of the error when a server can't be started because a program it needs isn't there; the rest of
// the error says what to install.
var ErrNotInstalled = errors.New("not installed")

// Options say how to start a server. The zero value is good for a test.
type Options struct {
	// Dir holds the server's data, settings and log and is kept by Stop, so that a later start finds the data again.
	// Empty means a temporary directory that Stop removes.
	Dir string
	// Port to listen on; 0 picks a free one.
	Port int
	// Behind gives Kafka a second listener, for clients that come through a proxy; nil for none.
	Behind *ProxyPorts
	// NoSync lets PostgreSQL skip fsync: faster, and safe as long as the machine itself doesn't crash.
	NoSync bool
	// StartTimeout bounds the time from the start of the process until it answers; 0 means a minute. Downloads don't
	// count; they end with the context.
	StartTimeout time.Duration
}

// ProxyPorts are ports of 127.0.0.1. A Kafka client goes where the broker tells it, so a proxy needs a listener that tells the
// proxy's own port.
type ProxyPorts struct {
	// Listen is where the broker listens for what comes through the proxy.
	Listen int
	// Advertise is the port of the proxy.
	Advertise int
}

// spec is what sets one kind of server apart from the others.
type spec struct {
	name    string // as its makers write it
	addr    string // host:port
	url     string // what a client is configured with
	command func() *command
	ready   func(context.Context) (version string, err error) // one round trip
	quit    syscall.Signal                                    // ends the server, keeping its data
	discard syscall.Signal                                    // ends it fast when nobody needs the data; 0: SIGKILL
	again   []string                                          // in the log of a failed start that is worth another try
}

// Server is a running server and the owner of its process. Its methods may be called by several goroutines.
type Server struct {
	spec    spec
	dir     string
	keep    bool
	timeout time.Duration

	mu      sync.Mutex // one of Stop, Kill, Restart at a time
	proc    *process
	version string
	stopped bool
}

// Name of the server as its makers write it: "Apache Kafka", "Redis", "PostgreSQL".
func (s *Server) Name() string { return s.spec.name }

// Version is the server's own version number.
func (s *Server) Version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Addr is host:port.
func (s *Server) Addr() string { return s.spec.addr }

// URL is what clients are configured with: redis://… or postgres://…; for Kafka, which has no URLs, the same as Addr.
func (s *Server) URL() string { return s.spec.url }

// Dir holds the server's data and log.
func (s *Server) Dir() string { return s.dir }

// LogFile is where the server's output goes.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "server.log") }

// Done is closed when the process running now has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.done
}

// newDir makes the directory of a server about to be started.
func newDir(o Options, kind string) (dir string, keep bool, err error) {
	if o.Dir == "" {
		dir, err = os.MkdirTemp("", "onehop-"+kind+"-")
		if err != nil {
			return "", false, fmt.Errorf("directory for %s: %w", kind, err)
		}
		// Others may pass through: the server may run as another user than we do.
		return dir, false, os.Chmod(dir, 0o711)
	}
	dir, err = filepath.Abs(o.Dir)
	if err != nil {
		return "", false, fmt.Errorf("directory for %s: %w", kind, err)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", false, fmt.Errorf("directory for %s: %w", kind, err)
	}
	return dir, true, nil
}

// start launches what the spec says in dir. When it fails, a temporary dir is removed.
func start(ctx context.Context, s spec, dir string, keep bool, timeout time.Duration) (*Server, error) {
	if timeout <= 0 {
		timeout = time.Minute
	}
	server := &Server{spec: s, dir: dir, keep: keep, timeout: timeout}
	if err := server.launch(ctx); err != nil {
		return nil, errors.Join(err, discardDir(dir, keep))
	}
	return server, nil
}

func discardDir(dir string, keep bool) error {
	if keep {
		return nil
	}
	return os.RemoveAll(dir)
}

// Stop ends the server, waits for it and removes a temporary directory. It may be called any number of times.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	signal := s.spec.quit
	if !s.keep {
		signal = s.spec.discard
	}
	s.proc.end(signal)
	if err := discardDir(s.dir, s.keep); err != nil {
		return fmt.Errorf("remove the data of %s: %w", s.spec.name, err)
	}
	return nil
}

// Kill ends the server as a crash would, with SIGKILL, and waits until it is gone. Restart starts it again.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc.end(0)
}

// Restart starts the server again on the same port and data; one that still runs is stopped first, keeping its data.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("restart %s: it was stopped for good", s.spec.name)
	}
	s.proc.end(s.spec.quit)
	return s.launch(ctx)
}

// Suspend freezes the server with all its processes: connections stay open and nothing answers, until Resume.
func (s *Server) Suspend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.signalAll(suspendSignal)
}

// Resume lets a suspended server go on.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.signalAll(resumeSignal)
}
