// Package oiptest has a server of the Open Inference Protocol that tests tell how to behave.
package oiptest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/schemas/inference"
	"github.com/onehop/onehop/schemas/inference/inferenceconnect"
)

// The tensors of the server's model: it scores a row with the sum of its [Width] features.
const (
	Input  = "features"
	Output = "scores"
	Width  = 4
)

// Behaviour is how a server answers; the zero value is a good server.
type Behaviour struct {
	// NotReady says that the model is not ready.
	NotReady bool
	// Metadata, if set, is the description in place of that of the sum.
	Metadata *inference.ModelMetadataResponse
	// Token, if set, is demanded of every call.
	Token string
	// Infer, if set, answers in place of the sum.
	Infer func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error)
	// Intercept, if set, answers runs in place of the whole protocol.
	Intercept http.HandlerFunc
}

// Server answers for one model, under any name, in this process.
type Server struct {
	inferenceconnect.UnimplementedGRPCInferenceServiceHandler

	behaviour atomic.Pointer[Behaviour]
	calls     atomic.Int64
	open      atomic.Int64 // connections
	address   string
	handler   http.Handler
	running   *http.Server
	done      chan struct{}
	mu        sync.Mutex // guards running and done
}

// Start starts a server on a free port of 127.0.0.1 and kills it at the end of the test.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{address: "127.0.0.1:0"}
	path, handler := inferenceconnect.NewGRPCInferenceServiceHandler(s)
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	mux.HandleFunc(inferenceconnect.GRPCInferenceServiceModelInferProcedure, func(w http.ResponseWriter, r *http.Request) {
		if intercept := s.behaviour.Load().Intercept; intercept != nil {
			intercept(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
	s.handler = mux
	s.Behave(Behaviour{})
	s.Restart(tb)
	tb.Cleanup(func() { s.Kill(tb) })
	return s
}

// Address is host:port; it stays the same when the server is killed and started again.
func (s *Server) Address() string { return s.address }

// Behave sets how calls from now on are answered.
func (s *Server) Behave(b Behaviour) { s.behaviour.Store(&b) }

// Handler answers as the server does.
func (s *Server) Handler() http.Handler { return s.handler }

// Calls counts runs that were asked for.
func (s *Server) Calls() int { return int(s.calls.Load()) }

// Connections is how many connections are open.
func (s *Server) Connections() int { return int(s.open.Load()) }

// Kill cuts all connections and closes the port. It is idempotent.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.mu.Lock() // a handler may kill its own server
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	if err := s.running.Close(); err != nil {
		tb.Error(err)
	}
	<-s.done
	s.running = nil
}

// Restart listens again after Kill.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", s.address)
	if err != nil {
		tb.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = listener.Addr().String()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s.running = &http.Server{Handler: s.handler, Protocols: protocols, ReadHeaderTimeout: time.Minute, ConnState: s.count}
	s.done = make(chan struct{})
	go func(server *http.Server, done chan struct{}) {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	}(s.running, s.done)
}

func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}

// authorize demands the token, if there is one.
func (s *Server) authorize(ctx context.Context) error {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	token := s.behaviour.Load().Token
	if token != "" && (!ok || info.RequestHeader().Get("Authorization") != "Bearer "+token) {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("who are you"))
	}
	return nil
}

// ModelReady says yes, unless it is to say no.
func (s *Server) ModelReady(ctx context.Context, _ *inference.ModelReadyRequest) (*inference.ModelReadyResponse, error) {
	return &inference.ModelReadyResponse{Ready: !s.behaviour.Load().NotReady}, s.authorize(ctx)
}

// ModelMetadata describes the model.
func (s *Server) ModelMetadata(ctx context.Context, req *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	if described := s.behaviour.Load().Metadata; described != nil {
		return described, nil
	}
	return Describe(req.GetName(), "FP32", "FP32"), nil
}

// Describe is the description of a model with one input of Width elements a row and one output.
func Describe(name, input, output string) *inference.ModelMetadataResponse {
	return &inference.ModelMetadataResponse{
		Name:    name,
		Inputs:  []*inference.ModelMetadataResponse_TensorMetadata{{Name: Input, Datatype: input, Shape: []int64{-1, Width}}},
		Outputs: []*inference.ModelMetadataResponse_TensorMetadata{{Name: Output, Datatype: output, Shape: []int64{-1, 1}}},
	}
}

// ModelInfer answers a run.
func (s *Server) ModelInfer(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	s.calls.Add(1)
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	if infer := s.behaviour.Load().Infer; infer != nil {
		return infer(ctx, req)
	}
	return Sum(ctx, req)
}

// Sum scores each row with the sum of its features.
func Sum(_ context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	if len(req.GetInputs()) != 1 || len(req.GetRawInputContents()) != 1 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("want one input with raw contents"))
	}
	rows, width, raw := int(req.GetInputs()[0].GetShape()[0]), int(req.GetInputs()[0].GetShape()[1]), req.GetRawInputContents()[0]
	if len(raw) != rows*width*4 {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d bytes for %d rows", len(raw), rows))
	}
	scores := make([]byte, 0, rows*4)
	for ; len(raw) > 0; raw = raw[width*4:] {
		sum := float32(0)
		for i := range width {
			sum += math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		scores = binary.LittleEndian.AppendUint32(scores, math.Float32bits(sum))
	}
	return Answer(rows, "FP32", scores), nil
}

// Answer is a response with one raw output.
func Answer(rows int, datatype string, raw []byte) *inference.ModelInferResponse {
	return &inference.ModelInferResponse{
		Outputs:           []*inference.ModelInferResponse_InferOutputTensor{{Name: Output, Datatype: datatype, Shape: []int64{int64(rows), 1}}},
		RawOutputContents: [][]byte{raw},
	}
}

// Remote is the line of a model.yaml that says that the model lives on the servers.
func Remote(servers ...*Server) string {
	endpoints := make([]string, len(servers))
	for i, s := range servers {
		endpoints[i] = strconv.Quote(s.Address())
	}
	return fmt.Sprintf("remote: {endpoints: [%s], model: there}\n", strings.Join(endpoints, ", "))
}
