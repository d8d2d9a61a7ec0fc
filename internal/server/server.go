// Package server is what every service listens with: an admin address for operators
// and, for services that answer RPCs, a public address, both shut down gracefully.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health says whether a service lives and whether it can do its work.
type Health struct{ problem atomic.Pointer[string] }

// NewHealth is the health of a service that is starting.
func NewHealth() *Health {
	h := &Health{}
	h.NotReady("starting")
	return h
}

// Ready says that the service can do its work.
func (h *Health) Ready() { h.problem.Store(nil) }

// NotReady says why it cannot.
func (h *Health) NotReady(why string) { h.problem.Store(&why) }

// Problem is why the service cannot do its work, empty when it can.
func (h *Health) Problem() string {
	if why := h.problem.Load(); why != nil {
		return *why
	}
	return ""
}

// Register serves /healthz and /readyz.
func (h *Health) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := h.Problem(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
}

// Admin is the handler of the admin address.
func Admin(health *Health, metrics *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	health.Register(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// readPatience is how long a caller may take to send a request, to its body's last byte, as one that never ends holds memory and a place.
const readPatience = 10 * time.Second

// Server is a bound listener with a handler.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen binds an address. Port 0 means any; see [Server.Addr]. What net/http has to say goes to the log.
func Listen(ctx context.Context, address string, handler http.Handler, logger *slog.Logger) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &Server{listener: listener, http: &http.Server{
		Handler: handler, Protocols: protocols,
		ReadHeaderTimeout: readPatience / 2, ReadTimeout: readPatience, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: log.New(lines{logger}, "", 0),
	}}, nil
}

// lines are those of net/http in a log. Callers cause most of them, as often as they like, by connections that make no sense.
type lines struct{ log *slog.Logger }

// Write implements io.Writer for one line.
func (l lines) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	switch {
	case bytes.Contains(line, []byte("panic serving")):
		level = slog.LevelError
	case bytes.HasPrefix(line, []byte("http: Accept error")): // there are no more file descriptors, for instance
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "net/http says", "line", string(bytes.TrimSpace(line)))
	return len(line), nil
}

// Addr is the bound address, host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close gives the address back; it is for a server that is not served.
func (s *Server) Close() error { return s.listener.Close() }

// Serve answers until the context ends, and then finishes the requests under way, but
// for no longer than drain.
func (s *Server) Serve(ctx context.Context, drain time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(s.listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serving on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	drainCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := s.http.Shutdown(drainCtx)
	if err != nil {
		err = fmt.Errorf("requests were still running %s after the signal to stop: %w", drain, errors.Join(err, s.http.Close()))
	}
	if served := <-done; err == nil && !errors.Is(served, http.ErrServerClosed) {
		err = served
	}
	return err
}
