package rpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/internal/server"
	"github.com/onehop/onehop/internal/telemetry"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// slowly lists models, in so much time.
type slowly struct {
	onehopv1connect.UnimplementedInferenceServiceHandler
	takes time.Duration
}

func (s slowly) ListModels(ctx context.Context, _ *onehopv1.ListModelsRequest) (*onehopv1.ListModelsResponse, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(s.takes):
		return &onehopv1.ListModelsResponse{}, nil
	}
}

// dialRaw is a connection for ten seconds at the most.
func dialRaw(t *testing.T, service *httptest.Server) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", service.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestABodyThatDoesNotArrive: it gives its place back when the server's time for requests has passed, and its caller is told; a request
// that arrived may be answered for longer than that.
func TestABodyThatDoesNotArrive(t *testing.T) {
	const patience = 100 * time.Millisecond
	metrics := prometheus.NewRegistry()
	options, err := Options(&telemetry.Telemetry{Metrics: metrics, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	path, handler := onehopv1connect.NewInferenceServiceHandler(slowly{takes: 3 * patience}, options...)
	service := httptest.NewUnstartedServer(Mux(server.NewHealth(), metrics, onehopv1connect.InferenceServiceName, path, handler))
	service.Config.ReadTimeout, service.Config.Protocols = patience, new(http.Protocols)
	service.Config.Protocols.SetHTTP1(true)
	service.Config.Protocols.SetUnencryptedHTTP2(true)
	service.Start()
	defer service.Close()

	for _, headers := range []string{"Content-Type: application/json", "Content-Type: application/proto\r\nConnect-Timeout-Ms: 5000"} {
		conn := dialRaw(t, service)
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n%s\r\n\r\n{", onehopv1connect.InferenceServiceListModelsProcedure, headers); err != nil {
			t.Fatal(err)
		}
		answers := bufio.NewReader(conn)
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if want := `{"code":"deadline_exceeded","message":"` + errSlowBody.Message() + `"}`; err != nil || string(text) != want || response.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("%s, %v: %s", response.Status, err, text)
		}
		if _, err := answers.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the connection is not closed: what arrives late would be a request (%v)", err)
		}
	}

	http2 := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	http2.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	defer http2.CloseIdleConnections()
	for name, client := range map[string]*http.Client{"HTTP/1": service.Client(), "HTTP/2": http2} {
		body, end := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, service.URL+onehopv1connect.InferenceServiceListModelsProcedure, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil || response.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("%s: %v, %v", name, response, err)
		} else {
			_ = response.Body.Close()
		}
		_ = end.Close()
		for _, options := range [][]connect.ClientOption{nil, {connect.WithHTTPGet()}, {connect.WithSendGzip()}} {
			asks := onehopv1connect.NewInferenceServiceClient(client, service.URL, options...)
			if _, err := asks.ListModels(t.Context(), &onehopv1.ListModelsRequest{}); err != nil {
				t.Errorf("%s: a request that arrived: %v", name, err)
			}
		}
	}
}

// TestWhatIsAskedOfHistoryMayArriveSlowly: and be answered slowly too.
func TestWhatIsAskedOfHistoryMayArriveSlowly(t *testing.T) {
	const patience = 100 * time.Millisecond
	service := httptest.NewUnstartedServer(Patient(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			_, err = slowly{takes: 2 * patience}.ListModels(r.Context(), nil)
		}
		_, _ = fmt.Fprintf(w, "%d bytes, %v", n, err)
	})))
	service.Config.ReadTimeout = patience
	service.Start()
	defer service.Close()
	body, end := io.Pipe()
	go func() {
		_, _ = io.WriteString(end, "what is")
		<-time.After(2 * patience)
		_, _ = io.WriteString(end, " asked")
		_ = end.Close()
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, service.URL+onehopv1connect.FeatureServiceGetTrainingSetProcedure, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := service.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != "13 bytes, <nil>" {
		t.Errorf("%s, %v", text, err)
	}
}

// TestABodyThatIsNone: what cannot be read as HTTP says it is the caller's mistake.
func TestABodyThatIsNone(t *testing.T) {
	path, handler := onehopv1connect.NewInferenceServiceHandler(slowly{})
	mux := http.NewServeMux()
	mux.Handle(path, newBound(handler, 1, prometheus.NewRegistry()))
	service := httptest.NewServer(mux)
	defer service.Close()
	conn := dialRaw(t, service)
	const request = "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
	if _, err := fmt.Fprintf(conn, request, onehopv1connect.InferenceServiceListModelsProcedure); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if says, err := io.ReadAll(answer.Body); answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(says), "the body of the request cannot be read: ") {
		t.Errorf("%s %s %v", answer.Status, says, err)
	}
}

// TestABodyThatIsNotReadIsNoRequest: where an answer is given before the body is read, what is left of it is not taken for the next request.
func TestABodyThatIsNotReadIsNoRequest(t *testing.T) {
	metrics := prometheus.NewRegistry()
	options, err := Options(&telemetry.Telemetry{Metrics: metrics, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	path, handler := onehopv1connect.NewInferenceServiceHandler(slowly{}, options...)
	service := httptest.NewServer(Mux(server.NewHealth(), metrics, onehopv1connect.InferenceServiceName, path, handler))
	defer service.Close()
	const request = "POST " + onehopv1connect.InferenceServiceListModelsProcedure + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	for _, header := range []string{"Content-Encoding: br", "Connect-Protocol-Version: 9"} {
		conn := dialRaw(t, service)
		inner := request + "Content-Length: 2\r\n\r\n{}"
		go func() {
			_, _ = fmt.Fprintf(conn, "%s%s\r\nContent-Length: 400000\r\n\r\n%s%s", request, header, inner, strings.Repeat(" ", 400_000-len(inner)))
		}()
		answers := bufio.NewReader(conn)
		for n := 0; ; n++ {
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				if n != 1 {
					t.Errorf("%s: %d answers, want 1", header, n)
				}
				break
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
}
