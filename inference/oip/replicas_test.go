package oip_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/oip/oiptest"
	"github.com/onehop/onehop/schemas/inference"
)

func checkRun(t *testing.T, m *oip.Model) {
	t.Helper()
	b := newBatch(t, m, 8)
	fill(b)
	if err := b.Run(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	checkScores(t, b, 8)
}

func fail(code connect.Code) oiptest.Behaviour {
	return oiptest.Behaviour{Infer: func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return nil, connect.NewError(code, errors.New("no"))
	}}
}

// hang answers when the caller is gone.
func hang(ctx context.Context, _ *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// failure is the error of a run.
func failure(ctx context.Context, t *testing.T, m *oip.Model) *oip.Error {
	t.Helper()
	b := newBatch(t, m, 2)
	err := b.Run(ctx, 2)
	failed, ok := errors.AsType[*oip.Error](err)
	if !ok {
		t.Fatalf("error %v, want an oip.Error", err)
	}
	return failed
}

func outcomes(m *oip.Model, o oip.Outcome) (n uint64) {
	for _, e := range m.Endpoints() {
		n += e.Outcomes[o]
	}
	return n
}

// TestOtherReplicaAnswers: whatever is wrong with one replica, the other answers, and each run is tried twice at most.
func TestOtherReplicaAnswers(t *testing.T) {
	for name, break_ := range map[string]func(*testing.T, *oiptest.Server){
		"dead":        func(t *testing.T, s *oiptest.Server) { s.Kill(t) },
		"unavailable": func(_ *testing.T, s *oiptest.Server) { s.Behave(fail(connect.CodeUnavailable)) },
		"overloaded":  func(_ *testing.T, s *oiptest.Server) { s.Behave(fail(connect.CodeResourceExhausted)) },
		"without it":  func(_ *testing.T, s *oiptest.Server) { s.Behave(fail(connect.CodeNotFound)) },
		"broken":      func(_ *testing.T, s *oiptest.Server) { s.Behave(fail(connect.CodeInternal)) },
		"hanging":     func(_ *testing.T, s *oiptest.Server) { s.Behave(oiptest.Behaviour{Infer: hang}) },
		"killed in the middle": func(t *testing.T, s *oiptest.Server) {
			s.Behave(oiptest.Behaviour{Infer: func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
				s.Kill(t)
				return nil, errors.New("too late")
			}})
		},
		"cut in the answer": func(_ *testing.T, s *oiptest.Server) {
			s.Behave(oiptest.Behaviour{Intercept: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/grpc")
				_, _ = w.Write([]byte{0, 0, 0, 0, 100, 1, 2})
				panic(http.ErrAbortHandler)
			}})
		},
		"not gRPC": func(_ *testing.T, s *oiptest.Server) {
			s.Behave(oiptest.Behaviour{Intercept: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }})
		},
	} {
		t.Run(name, func(t *testing.T) {
			good, bad := oiptest.Start(t), oiptest.Start(t)
			o := options(bad, good)
			o.Timeout = time.Second / 4
			m := load(t, o)
			break_(t, bad)
			for range 4 {
				checkRun(t, m)
			}
			if failed := outcomes(m, oip.Unreachable) + outcomes(m, oip.TimedOut) + outcomes(m, oip.Failed); failed == 0 {
				t.Errorf("the bad replica was never asked: %+v", m.Endpoints())
			}
		})
	}
}

// TestAllReplicasDead: it is said which, at once, and the model comes back when one does.
func TestAllReplicasDead(t *testing.T) {
	a, b := oiptest.Start(t), oiptest.Start(t)
	m := load(t, options(a, b))
	a.Kill(t)
	b.Kill(t)
	failed := failure(t.Context(), t, m)
	if !failed.Unavailable() || !strings.Contains(failed.Error(), a.Address()) || !strings.Contains(failed.Error(), b.Address()) {
		t.Errorf("error %v, want one of both replicas", failed)
	}
	for range 10 {
		failed = failure(t.Context(), t, m)
	}
	if failed.Endpoint != "" || !strings.Contains(failed.Error(), "all of its 2 replicas") {
		t.Errorf("with open breakers: %v", failed)
	}
	a.Restart(t)
	recovers(t, m)
}

// recovers waits until a run succeeds.
func recovers(t *testing.T, m *oip.Model) {
	t.Helper()
	batch, tick := newBatch(t, m, 1), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := batch.Run(ctx, 1)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it did not come back: %v", err)
		case <-tick.C:
		}
	}
}

// TestBreaker: the only replica is left alone after twenty failures, tried by one call a second, and taken back when that succeeds.
func TestBreaker(t *testing.T) {
	bad := oiptest.Start(t)
	m := load(t, options(bad))
	bad.Behave(fail(connect.CodeUnavailable))
	before := bad.Calls()
	for range 30 {
		if failed := failure(t.Context(), t, m); failed.Outcome != oip.Unreachable {
			t.Errorf("outcome %s, want unreachable", failed.Outcome)
		}
	}
	if calls := bad.Calls() - before; calls != 20 {
		t.Errorf("%d calls reached it, want 20", calls)
	}
	if open := m.Endpoints()[0].Open; open != 1 {
		t.Errorf("the breaker is %v open, want 1", open)
	}
	bad.Behave(oiptest.Behaviour{})
	recovers(t, m)
	if open := m.Endpoints()[0].Open; open != 0 {
		t.Errorf("the breaker is %v open after it came back, want 0", open)
	}
}

// TestABalancerBeforeBadServers is not left alone as long as some of its servers answer.
func TestABalancerBeforeBadServers(t *testing.T) {
	balancer := oiptest.Start(t)
	m := load(t, options(balancer))
	var calls atomic.Uint64
	balancer.Behave(oiptest.Behaviour{Infer: func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		if calls.Add(1)%8 != 0 {
			return nil, connect.NewError(connect.CodeUnavailable, errors.New("no"))
		}
		return oiptest.Sum(ctx, req)
	}})
	answered, b := 0, newBatch(t, m, 1)
	for range 40 {
		if b.Run(t.Context(), 1) == nil {
			answered++
		}
	}
	if answered != 10 {
		t.Errorf("%d of 40 runs were answered, want the 10 whose second attempt met a server that answers", answered)
	}
}

// TestDeadlines: the caller's is kept, and says nothing against a replica that takes its usual time.
func TestDeadlines(t *testing.T) {
	server := oiptest.Start(t)
	server.Behave(oiptest.Behaviour{Infer: func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		timer := time.NewTimer(100 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return oiptest.Sum(ctx, req)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	m := load(t, options(server))
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		if failed := failure(ctx, t, m); failed.Outcome != oip.TimedOut {
			t.Errorf("outcome %s, want timeout: %v", failed.Outcome, failed)
		}
		cancel()
	}
	checkRun(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if failed := failure(ctx, t, m); failed.Outcome != oip.Canceled {
		t.Errorf("outcome %s of a caller that went away", failed.Outcome)
	}
	server.Behave(oiptest.Behaviour{Infer: hang})
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if failed := failure(ctx, t, m); failed.Outcome != oip.TimedOut {
			t.Errorf("outcome %s, want timeout", failed.Outcome)
		}
		cancel()
	}
	if failed := failure(t.Context(), t, m); failed.Endpoint != "" {
		t.Errorf("the breaker is closed for a server that hangs: %v", failed)
	}
}

// TestTrialLeavesTimeForAnotherReplica: when a replica that hung is tried again, and hangs still, the request has its scores all the same.
func TestTrialLeavesTimeForAnotherReplica(t *testing.T) {
	bad := oiptest.Start(t)
	m := load(t, options(bad, oiptest.Start(t)))
	bad.Behave(oiptest.Behaviour{Infer: hang})
	b := newBatch(t, m, 1)
	run := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		return b.Run(ctx, 1)
	}
	open := func() bool { return m.Endpoints()[0].Open == 1 }
	for i := 0; !open(); i++ {
		if err := run(); err != nil && i > 100 {
			t.Fatalf("the breaker of a replica that hangs never opens: %v", err)
		}
	}
	before := bad.Calls()
	for began := time.Now(); bad.Calls() < before+2 && time.Since(began) < 20*time.Second; {
		if err := run(); err != nil {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
	}
	if bad.Calls() < before+2 {
		t.Error("it was never tried again")
	}
}

// TestBusyReplicas: runs go to whoever is less busy, and a second attempt goes to the other one even when that is busier.
func TestBusyReplicas(t *testing.T) {
	busy, idle := oiptest.Start(t), oiptest.Start(t)
	m := load(t, options(busy, idle))
	idle.Behave(fail(connect.CodeUnavailable))
	entered, release := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	busy.Behave(oiptest.Behaviour{Infer: func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		if first.CompareAndSwap(false, true) {
			close(entered)
			<-release
		}
		return oiptest.Sum(ctx, req)
	}})
	held := newBatch(t, m, 1)
	var running sync.WaitGroup
	running.Go(func() {
		if err := held.Run(t.Context(), 1); err != nil {
			t.Error(err)
		}
	})
	<-entered
	checkRun(t, m) // fails at the idle one, and is tried again at the busy one
	idle.Behave(oiptest.Behaviour{})
	before := busy.Calls()
	for range 10 {
		checkRun(t, m)
	}
	if calls := busy.Calls() - before; calls != 0 {
		t.Errorf("%d runs went to the busy replica", calls)
	}
	close(release)
	running.Wait()
}

// TestReplicasShareTheLoad: calls at once go to whoever is least busy.
func TestReplicasShareTheLoad(t *testing.T) {
	servers := []*oiptest.Server{oiptest.Start(t), oiptest.Start(t), oiptest.Start(t)}
	o := options(servers...)
	o.Connections = 2
	m := load(t, o)
	var all sync.WaitGroup
	for range 12 {
		b := newBatch(t, m, 5)
		fill(b)
		all.Go(func() {
			for range 20 {
				if err := b.Run(t.Context(), 5); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, s := range servers {
		if s.Calls() < 12 {
			t.Errorf("%s had %d calls of 240", s.Address(), s.Calls())
		}
	}
}

// TestClosedModel: its connections are closed whether the servers live on or not, and it runs no more.
func TestClosedModel(t *testing.T) {
	server := oiptest.Start(t)
	o := options(server)
	o.Connections = 3
	m := load(t, o)
	b := newBatch(t, m, 1)
	for range 3 {
		if err := b.Run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.Connections(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := b.Run(t.Context(), 1); !errors.Is(err, oip.ErrClosed) {
		t.Errorf("a run after Close: %v", err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); server.Connections() > 0; <-tick.C {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d connections are open after Close", server.Connections())
		}
	}
}
