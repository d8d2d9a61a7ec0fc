package inference

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/oip/oiptest"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/schemas/inference"
)

// remoteSet serves a ranker of this process as version 1, and one on servers as version 2.
func remoteSet(t *testing.T, servers ...*oiptest.Server) *Set {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"ranker/1/model.onnx": string(onnxtest.MLP(widths, seed)),
		"ranker/1/model.yaml": spec,
		"ranker/2/model.yaml": strings.Replace(spec, "i.price,", "{from: i.price, default: -1},", 1) + oiptest.Remote(servers...) + "batching: {instances: 1}\n",
	} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	repo, err := repository.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSet(onnxtest.Open(t), repo, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	catalog, err := definition.Parse([]definition.File{{Name: "d.yaml", Text: []byte(definitions)}})
	if err != nil {
		t.Fatal(err)
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		t.Fatal(err)
	}
	s.Define(catalog, programs)
	return s
}

func refresh(t *testing.T, s *Set) {
	t.Helper()
	if err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, s *Set, version int64) *Hop {
	t.Helper()
	h, err := s.Find("ranker", version)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestRemoteModelScores: the same plan and batching, with the scores that the server gives.
func TestRemoteModelScores(t *testing.T) {
	s := remoteSet(t, oiptest.Start(t), oiptest.Start(t))
	refresh(t, s)
	h := find(t, s, 0)
	if h.Model.Number != 2 || len(h.Model.SHA256) != 64 || len(h.Model.Endpoints()) != 2 {
		t.Errorf("version %d, digest %q, endpoints %v", h.Model.Number, h.Model.SHA256, h.Model.Endpoints())
	}
	const n = 600 // three runs
	var res Result
	if err := h.Run(t.Context(), request(t, h, n), &res); err != nil {
		t.Fatal(err)
	}
	for i, score := range res.Scores {
		want := 4 + float64(i)/100 + 1 + 0.5
		if i%7 == 6 {
			want = 4 - 1 + 0 + 0.5
		}
		if math.Abs(float64(score)-want) > 1e-5 {
			t.Fatalf("candidate %d scores %v, want %v", i, score, want)
		}
	}
	refresh(t, s)
	if find(t, s, 0) != h {
		t.Error("it was loaded again though nothing changed")
	}
}

// wantPlace: a problem, as every caller may read it, names the server by its place, and the log by its address.
func wantPlace(t *testing.T, problem error, want, address string, log *bytes.Buffer) {
	t.Helper()
	if problem == nil || !strings.Contains(problem.Error(), want) || strings.Contains(problem.Error(), address) {
		t.Errorf("problem %v, want %q without %s", problem, want, address)
	}
	if !strings.Contains(log.String(), address) {
		t.Errorf("the log lacks %s:\n%s", address, log)
	}
}

// TestServerAwayAtStart: its version says why it cannot be served and hides no other; it is served when the server is there.
func TestServerAwayAtStart(t *testing.T) {
	server := oiptest.Start(t)
	server.Kill(t)
	s := remoteSet(t, server)
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		refresh(t, s)
		if h := find(t, s, 0); h.Model.Number != 1 {
			t.Errorf("version %d is served", h.Model.Number)
		}
		_, err := s.Find("ranker", 2)
		known, ok := errors.AsType[*featurestore.Error](err)
		if !ok || known.Code != featurestore.Unavailable {
			t.Errorf("error %v, want Unavailable", err)
		}
		wantPlace(t, err, `at server 1 of 1: unreachable; the log of infer says more`, server.Address(), &log)
		if _, ok := errors.AsType[*connect.Error](err); ok {
			t.Errorf("error %v still has the code of the other server, which would be taken for ours", err)
		}
	}
	server.Restart(t)
	refresh(t, s)
	if h := find(t, s, 0); h.Model.Number != 2 {
		t.Errorf("version %d is served when the server is there", h.Model.Number)
	}
}

// TestServerThatHangsAtStart: versions of this process do not wait for it, and what is waited for it is bounded.
func TestServerThatHangsAtStart(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	s := remoteSet(t)
	text := spec + fmt.Sprintf("remote: {endpoints: [%q], model: there, timeout: 1s}\n", silent.Addr())
	if err := os.WriteFile(filepath.Join(s.repo.Dir(), "ranker", "2", "model.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	done := make(chan error, 1)
	go func() { done <- s.Refresh(t.Context()) }()
	tick, deadline := time.NewTicker(5*time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for loaded := false; !loaded; {
		select {
		case err := <-done:
			t.Fatalf("the refresh ended before version 1 was served: %v", err)
		case <-tick.C:
			_, err := s.Find("ranker", 1)
			loaded = err == nil
		}
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-deadline:
		t.Fatal("the refresh waits for the server for 10 s")
	}
	_, err = s.Find("ranker", 2)
	wantPlace(t, err, "at server 1 of 1: timeout", silent.Addr().String(), &log)
}

// TestServerThatTakesFewerRows: what the batching allows and the server does not is told at load, and what the server says by the log.
func TestServerThatTakesFewerRows(t *testing.T) {
	server := oiptest.Start(t)
	most := 200 // fewer than batching.DefaultMaxRows
	limit := func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		if req.GetInputs()[0].GetShape()[0] > int64(most) {
			return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("batch-size must be <= %d", most))
		}
		return oiptest.Sum(ctx, req)
	}
	server.Behave(oiptest.Behaviour{Infer: limit})
	s := remoteSet(t, server)
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	refresh(t, s)
	if h := find(t, s, 0); h.Model.Number != 1 {
		t.Errorf("version %d is served", h.Model.Number)
	}
	_, err := s.Find("ranker", 2)
	wantPlace(t, err, "trial run: 256 rows: remote model \"there\" at server 1 of 1: refused; the log of infer says more", "must be <= 200", &log)
	most = batching.DefaultMaxRows
	server.Behave(oiptest.Behaviour{Infer: limit})
	refresh(t, s)
	if h := find(t, s, 0); h.Model.Number != 2 {
		t.Errorf("version %d is served when the server takes as many rows", h.Model.Number)
	}
}

// TestAnotherModelOnTheServer: a description that changed is looked at anew, and must fit model.yaml.
func TestAnotherModelOnTheServer(t *testing.T) {
	server := oiptest.Start(t)
	s := remoteSet(t, server)
	refresh(t, s)
	first := find(t, s, 2)
	described := oiptest.Describe("there", "FP32", "FP32")
	described.Platform = "another"
	server.Behave(oiptest.Behaviour{Metadata: described})
	refresh(t, s)
	if second := find(t, s, 2); second == first || second.Model.SHA256 == first.Model.SHA256 {
		t.Error("another model has the digest of the first")
	}
	if err := first.Run(t.Context(), request(t, first, 3), &Result{}); err != nil {
		t.Errorf("a request under way: %v", err)
	}
	described = oiptest.Describe("there", "FP32", "FP32")
	described.Inputs[0].Shape[1] = 7
	server.Behave(oiptest.Behaviour{Metadata: described, Infer: func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return oiptest.Answer(1, "FP32", make([]byte, 4)), nil
	}})
	refresh(t, s)
	if problem := s.Models()[1].Problem; problem == nil || !strings.Contains(problem.Error(), "has 7 elements a row, but the columns that are listed have 4") {
		t.Errorf("a model that does not fit: %v", problem)
	}
	server.Behave(oiptest.Behaviour{})
	if err := first.Run(t.Context(), request(t, first, 3), &Result{}); err != nil {
		t.Errorf("a request under way: %v", err)
	}
	first.Release() // by the last request that has it
	refresh(t, s)
	if err := first.Run(t.Context(), request(t, first, 3), &Result{}); !errors.Is(err, batching.ErrClosed) {
		t.Errorf("a version that was replaced long ago: %v, want that it was closed", err)
	}
}

// TestRemoteErrorsHaveCodes: a caller learns whether to try again, and nothing of servers.
func TestRemoteErrorsHaveCodes(t *testing.T) {
	server := oiptest.Start(t)
	s := remoteSet(t, server)
	refresh(t, s)
	h := find(t, s, 2)
	for code, want := range map[connect.Code]featurestore.Code{connect.CodeUnavailable: featurestore.Unavailable, connect.CodeInvalidArgument: featurestore.Invalid, connect.CodeInternal: 0} {
		server.Behave(oiptest.Behaviour{Infer: func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
			return nil, connect.NewError(code, errors.New("no"))
		}})
		err := h.Run(t.Context(), request(t, h, 3), &Result{})
		var known featurestore.Error
		if e, ok := errors.AsType[*featurestore.Error](err); ok {
			known = *e
		}
		if err == nil || known.Code != want || strings.Contains(known.Message, server.Address()) || !strings.Contains(err.Error(), server.Address()) {
			t.Errorf("%s: %v, code %d, want %d", code, err, known.Code, want)
		}
		if _, ok := errors.AsType[*connect.Error](err); ok {
			t.Errorf("%s: %v still has the code of the other server, which would be taken for ours", code, err)
		}
	}
}

// TestRefusedRequestDisturbsNobody: requests share a run with one whose values the model refuses, and have their scores.
func TestRefusedRequestDisturbsNobody(t *testing.T) {
	server := oiptest.Start(t)
	s := remoteSet(t, server)
	refresh(t, s)
	var shared atomic.Bool
	server.Behave(oiptest.Behaviour{Infer: func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		if req.GetInputs()[0].GetShape()[0] > 3 {
			shared.Store(true)
		}
		for raw := req.GetRawInputContents()[0]; len(raw) > 0; raw = raw[4:] {
			if math.Float32frombits(binary.LittleEndian.Uint32(raw)) == -999 {
				return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("a bad hour"))
			}
		}
		return oiptest.Sum(ctx, req)
	}})
	h := find(t, s, 2)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			req := request(t, h, 3)
			bad := i%8 == 0
			if bad {
				req.Fields[0] = []float64{-999}
			}
			for range 10 {
				var res Result
				err := h.Run(t.Context(), req, &res)
				if bad != (err != nil) || !bad && res.Scores[0] != 5.5 {
					t.Errorf("request %d: scores %v, %v", i, res.Scores, err)
				}
			}
		})
	}
	all.Wait()
	if !shared.Load() {
		t.Error("no runs were shared: nothing was tested")
	}
}
