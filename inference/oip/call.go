package oip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/schemas/inference"
)

// attempts is how often a run is tried: once, and once more elsewhere.
const attempts = 2

// maxMessageBytes bounds what an error keeps of a server's words: some send a whole trace of calls.
const maxMessageBytes = 4 << 10

// infer runs the model at one of its replicas, and once more at another if need be. A replica whose model failed where another's did not
// is a bad one; where both failed the request may be to blame.
func (m *Model) infer(ctx context.Context, req *inference.ModelInferRequest, accept func(*inference.ModelInferResponse) error) error {
	failed, err := m.attempt(ctx, req, accept)
	for _, e := range failed {
		e.settle(err == nil)
	}
	return err
}

// attempt makes the attempts of a run. A failure that may not be the request's is tried once more, on another replica where there is one,
// while the caller's time lasts. It gives the replicas whose model failed, which have to be settled.
func (m *Model) attempt(ctx context.Context, req *inference.ModelInferRequest, accept func(*inference.ModelInferResponse) error) (failed []*endpoint, err error) {
	start := m.next.Add(1)
	var tried uint32
	var first *Error
	for range attempts {
		e := m.pick(start, tried)
		if e == nil {
			break
		}
		timeout := m.options.timeout()
		if len(m.endpoints) > 1 { // a single address may have several replicas behind it
			if tried == 0 {
				timeout = e.patience(ctx, timeout)
			}
			tried |= 1 << e.index
		}
		outcome, err := e.infer(ctx, req, timeout, accept)
		if err == nil {
			return failed, nil
		}
		if outcome.doubtful() {
			failed = append(failed, e)
		}
		last := m.failure(e, outcome, err)
		if first != nil {
			last.Err = fmt.Errorf("%w; tried after %w", last.Err, first)
		}
		if !m.again(outcome) || ctx.Err() != nil {
			return failed, last
		}
		first = last
	}
	if first != nil {
		return failed, first
	}
	return failed, &Error{Model: m.options.String(), Outcome: Unreachable, Err: m.openError()}
}

// again says whether a second attempt may end better. A model that failed may do so at one replica only, and would again there: Triton
// answers every run with INTERNAL when a model's process has died.
func (m *Model) again(outcome Outcome) bool {
	return outcome == Unreachable || outcome == TimedOut || outcome.doubtful() && len(m.endpoints) > 1
}

// failure is an error without the code that it came with from the server: that is not the code of whatever calls this.
func (m *Model) failure(e *endpoint, outcome Outcome, err error) *Error {
	if sent, ok := errors.AsType[*connect.Error](err); ok {
		text := sent.Error()
		if len(text) > maxMessageBytes {
			text = fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:maxMessageBytes], ""), len(text))
		}
		err = errors.New(text)
	}
	return &Error{Model: m.options.String(), Endpoint: e.address, Server: e.index + 1, Servers: len(m.endpoints), Outcome: outcome, Err: err}
}

// pick takes a permit of the least busy replica, the first of them from start on, but of none that was tried. It is nil when there is none.
func (m *Model) pick(start, tried uint32) *endpoint {
	for {
		var best *endpoint
		for i := range m.endpoints {
			e := m.endpoints[(start+uint32(i))%uint32(len(m.endpoints))]
			if tried&(1<<e.index) == 0 && (best == nil || e.busy.Load() < best.busy.Load()) {
				best = e
			}
		}
		if best == nil || best.breaker.TryAcquirePermit() {
			return best
		}
		tried |= 1 << best.index
	}
}

// openError says why nobody was asked.
func (m *Model) openError() error {
	wait := time.Duration(0)
	for i, e := range m.endpoints {
		if left := e.breaker.RemainingDelay(); i == 0 || left < wait {
			wait = left
		}
	}
	return fmt.Errorf("all of its %d replicas failed %d times in a row or more and are left alone for %s", len(m.endpoints), m.options.failures(), wait.Round(time.Millisecond))
}
