package rpc

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore"
)

const (
	// maxRequests is how many requests a service answers at a time: each takes memory, and none waits for a place.
	maxRequests = 4096
	// retryBusy is when those that are refused may try again.
	retryBusy = 100 * time.Millisecond
)

var errMaxRequests = toWire(featurestore.Errorf(featurestore.Exhausted, "%d requests are being answered by this instance already, and no more may", maxRequests).After(retryBusy))

// bound refuses requests beyond a number of them, before it reads what they bring.
type bound struct {
	handler http.Handler
	most    int64
	now     atomic.Int64
	errors  *connect.ErrorWriter
	refused prometheus.Counter
}

func newBound(handler http.Handler, most int64, metrics prometheus.Registerer) *bound {
	b := &bound{
		handler: handler, most: most, errors: connect.NewErrorWriter(),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "onehop_rpc_refused_total", Help: "Requests refused because too many were being answered; they are in no other metric."}),
	}
	busy := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "onehop_rpc_requests", Help: "Requests that are being answered."}, func() float64 { return float64(b.now.Load()) })
	metrics.MustRegister(b.refused, busy)
	return b
}

// ServeHTTP implements http.Handler.
func (b *bound) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w = &unkept{w}
	}
	defer b.now.Add(-1)
	if b.now.Add(1) > b.most {
		b.refused.Inc()
		_ = b.errors.Write(w, r, errMaxRequests) // fails where whoever asked is gone
		return
	}
	if err := checkMessage(r); err != nil {
		_ = b.errors.Write(w, r, err)
		return
	}
	own := *r // net/http looks at its own to know whether the connection can be used again
	own.Body = &arriving{r.Body, r}
	b.handler.ServeHTTP(w, &own)
}

// checkMessage says whether the message of a GET can be read; connect takes one that is no base64 for a failure of its own.
func checkMessage(r *http.Request) error {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.RawQuery, "base64=1") {
		return nil
	}
	message, encoding := r.URL.Query().Get("message"), base64.URLEncoding
	if len(message)%4 != 0 {
		encoding = base64.RawURLEncoding
	}
	if _, err := encoding.DecodeString(message); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("message: it is no URL-safe base64: %w", err))
	}
	return nil
}

// arriving is a body that says what happened when it did not arrive in the time that the server allows, or is none.
type arriving struct {
	io.ReadCloser

	request *http.Request
}

var errSlowBody = connect.NewError(connect.CodeDeadlineExceeded, errors.New("the request did not arrive in the time that it may take: its body was sent too slowly, or not to its end"))

// Read implements io.Reader.
func (a *arriving) Read(b []byte) (int, error) {
	n, err := a.ReadCloser.Read(b)
	var connection net.Error
	switch {
	case err == nil || errors.Is(err, io.EOF):
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errSlowBody
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &connection) || a.request.Context().Err() != nil: // the caller is gone
	default:
		err = connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the body of the request cannot be read: %w", err))
	}
	return n, err
}

// unkept forbids caches to keep an answer of which its handler does not say that they may, and one that comes from no handler: of a 200, a 404
// or a 501 they may decide by themselves (RFC 9110, 15.1).
type unkept struct{ http.ResponseWriter }

func (u *unkept) forbid() {
	if header := u.Header(); header.Get("Cache-Control") == "" {
		header.Set("Cache-Control", "no-store")
	}
}

// WriteHeader implements http.ResponseWriter.
func (u *unkept) WriteHeader(status int) {
	u.forbid()
	u.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (u *unkept) Write(b []byte) (int, error) {
	u.forbid()
	return u.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (u *unkept) Unwrap() http.ResponseWriter { return u.ResponseWriter }
