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
