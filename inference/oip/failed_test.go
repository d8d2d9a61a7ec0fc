package oip_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/oip/oiptest"
	"github.com/onehop/onehop/schemas/inference"
)

// TestWhatIsTriedElsewhere: a refusal of values would be repeated there; an error may be of one replica. Neither opens a breaker.
func TestWhatIsTriedElsewhere(t *testing.T) {
	for code, want := range map[connect.Code]struct {
		outcome oip.Outcome
		calls   int // of 10 runs
	}{
		connect.CodeInvalidArgument: {oip.Refused, 10}, connect.CodeInternal: {oip.Failed, 20}, connect.CodeUnimplemented: {oip.Failed, 20},
		connect.CodeUnauthenticated: {oip.Failed, 20},
	} {
		a, b := oiptest.Start(t), oiptest.Start(t)
		m := load(t, options(a, b))
		a.Behave(fail(code))
		b.Behave(fail(code))
		before := a.Calls() + b.Calls()
		for range 2 * 5 {
			failed := failure(t.Context(), t, m)
			if failed.Outcome != want.outcome || failed.Unavailable() || failed.Endpoint == "" {
				t.Errorf("%s: outcome %s at %q, want %s", code, failed.Outcome, failed.Endpoint, want.outcome)
			}
		}
		if calls := a.Calls() + b.Calls() - before; calls != want.calls {
			t.Errorf("%s: 10 runs made %d calls, want %d", code, calls, want.calls)
		}
	}
}

// TestBadReplica: one whose model fails where another's does not is asked in its turn, left alone after five failures, and taken back.
func TestBadReplica(t *testing.T) {
	good, bad := oiptest.Start(t), oiptest.Start(t)
	m := load(t, options(good, bad))
	bad.Behave(fail(connect.CodeInternal))
	before := bad.Calls()
	for range 4 {
		checkRun(t, m)
	}
	if calls := bad.Calls() - before; calls != 2 {
		t.Errorf("4 runs made %d calls to one replica of two, want 2", calls)
	}
	for range 20 {
		checkRun(t, m)
	}
	if calls := bad.Calls() - before; calls != 5 || m.Endpoints()[1].Open != 1 || m.Endpoints()[0].Open != 0 {
		t.Errorf("%d calls reached it, want 5; %+v", calls, m.Endpoints())
	}
	bad.Behave(oiptest.Behaviour{})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); m.Endpoints()[1].Open != 0; <-tick.C {
		if checkRun(t, m); time.Since(began) > 20*time.Second {
			t.Fatal("it was not taken back")
		}
	}
}

// TestReplicaThatAnswersGarbage is one that is bad, where another's answers are right; it costs no run.
func TestReplicaThatAnswersGarbage(t *testing.T) {
	good, bad := oiptest.Start(t), oiptest.Start(t)
	m := load(t, options(good, bad))
	garbage := oiptest.Behaviour{Infer: func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return &inference.ModelInferResponse{}, nil
	}}
	bad.Behave(garbage)
	before := bad.Calls()
	for range 20 {
		checkRun(t, m)
	}
	if calls := bad.Calls() - before; calls != 5 || m.Endpoints()[1].Open != 1 || m.Endpoints()[0].Open != 0 {
		t.Errorf("%d calls reached it, want 5; %+v", calls, m.Endpoints())
	}
	good.Behave(garbage)
	if failed := failure(t.Context(), t, m); failed.Outcome != oip.BadAnswer || failed.Unavailable() {
		t.Errorf("where all answer so: %+v", failed)
	}
}

// TestErrorOfTheOnlyReplica is not asked for twice, and keeps little of a long message.
func TestErrorOfTheOnlyReplica(t *testing.T) {
	server := oiptest.Start(t)
	m := load(t, options(server))
	server.Behave(oiptest.Behaviour{Infer: func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return nil, connect.NewError(connect.CodeInternal, errors.New("a trace "+strings.Repeat("é", 50_000)))
	}})
	before := server.Calls()
	failed := failure(t.Context(), t, m)
	if calls := server.Calls() - before; calls != 1 || failed.Outcome != oip.Failed {
		t.Errorf("outcome %s after %d calls, want failed after one", failed.Outcome, calls)
	}
	if text := failed.Error(); len(text) > 5_000 || !strings.Contains(text, "a trace éé") || !utf8.ValidString(text) {
		t.Errorf("an error of %d bytes: %.100s", len(text), text)
	}
}

// TestSlowBadReplicaCostsARun: one that hangs, or fails when there is too little time left for another, costs that run; the next ones leave
// time for the other replica, until the bad one is left alone.
func TestSlowBadReplicaCostsARun(t *testing.T) {
	const patience = 600 * time.Millisecond
	for name, infer := range map[string]func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error){
		"hangs": hang,
		"hangs, and callers by gRPC go away just before their deadline": hang,
		"fails": func(ctx context.Context, _ *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
			return late(ctx, patience*5/6, nil, connect.NewError(connect.CodeInternal, errors.New("no")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := oiptest.Start(t), oiptest.Start(t)
			m := load(t, options(bad, good))
			bad.Behave(oiptest.Behaviour{Infer: infer})
			good.Behave(oiptest.Behaviour{Infer: func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
				res, err := oiptest.Sum(ctx, req)
				return late(ctx, patience/4, res, err)
			}})
			b := newBatch(t, m, 1)
			costs := 0
			for runs := 0; m.Endpoints()[0].Open != 1; runs++ {
				if runs == 20 {
					t.Fatalf("after %d runs it is not left alone: %+v", runs, m.Endpoints())
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if strings.Contains(name, "go away") {
					time.AfterFunc(patience*19/20, cancel)
				}
				if b.Run(ctx, 1) != nil {
					costs++
				}
				cancel()
			}
			if costs < 1 || costs > 2 {
				t.Errorf("it cost %d runs, want one or two", costs)
			}
		})
	}
}

// late answers after a time, unless the caller is gone before.
func late(ctx context.Context, after time.Duration, res *inference.ModelInferResponse, err error) (*inference.ModelInferResponse, error) {
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
		return res, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestOneFailureOfTheOnlyReplica shuts nobody out: the next run has all of its time, though half would not do.
func TestOneFailureOfTheOnlyReplica(t *testing.T) {
	server := oiptest.Start(t)
	m := load(t, options(server))
	server.Behave(fail(connect.CodeInternal))
	if failed := failure(t.Context(), t, m); failed.Outcome != oip.Failed {
		t.Fatal(failed)
	}
	server.Behave(oiptest.Behaviour{Infer: func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		res, err := oiptest.Sum(ctx, req)
		return late(ctx, 600*time.Millisecond, res, err)
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := newBatch(t, m, 1).Run(ctx, 1); err != nil {
		t.Errorf("the run after a failure: %v", err)
	}
}

// TestAnswerClearsAReplica: one that failed and answered since has all of the caller's time again.
func TestAnswerClearsAReplica(t *testing.T) {
	other, once := oiptest.Start(t), oiptest.Start(t)
	m := load(t, options(other, once))
	once.Behave(fail(connect.CodeInternal))
	checkRun(t, m)
	checkRun(t, m)
	once.Behave(oiptest.Behaviour{})
	checkRun(t, m)
	checkRun(t, m)
	slow := oiptest.Behaviour{Infer: func(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		res, err := oiptest.Sum(ctx, req)
		return late(ctx, 600*time.Millisecond, res, err)
	}}
	once.Behave(slow)
	other.Behave(slow)
	b := newBatch(t, m, 1)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := b.Run(ctx, 1); err != nil {
			t.Error(err)
		}
		cancel()
	}
	if outcomes(m, oip.Failed) != 1 || outcomes(m, oip.TimedOut) != 0 {
		t.Errorf("%+v", m.Endpoints())
	}
}
