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

// infer runs the model at one of its replicas. A failure that may not be the request's is tried once more, on another replica where there
// is one, while the caller's time lasts.
func (m *Model) infer(ctx context.Context, req *inference.ModelInferRequest, accept func(*inference.ModelInferResponse) error) error {
	var tried uint32
	var first *Error
	for range attempts {
		e := m.pick(tried)
		if e == nil {
			break
		}
		if len(m.endpoints) > 1 { // a single address may have several replicas behind it
			tried |= 1 << e.index
		}
		outcome, err := e.infer(ctx, req, m.options.timeout(), accept)
		if err == nil {
			return nil
		}
		failed := m.failure(e, outcome, err)
		if first != nil {
			failed.Err = fmt.Errorf("%w; tried after %w", failed.Err, first)
		}
		if !m.again(failed.Outcome) || ctx.Err() != nil {
			return failed
		}
		first = failed
	}
	if first != nil {
		return first
	}
	return &Error{Model: m.options.String(), Outcome: Unreachable, Err: m.openError()}
}

// again says whether a second attempt may end better. A model that failed may do so at one replica only, and would again there: Triton
// answers every run with INTERNAL when a model's process has died.
func (m *Model) again(outcome Outcome) bool {
	switch outcome {
	case Unreachable, TimedOut:
		return true
	case Failed:
		return len(m.endpoints) > 1
	default:
		return false
	}
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
	return &Error{Model: m.options.String(), Endpoint: e.address, Outcome: outcome, Err: err}
}

// pick takes a permit of the least busy replica, in turn where several are, but of none that was tried. It is nil when there is none.
func (m *Model) pick(tried uint32) *endpoint {
	start := int(m.next.Add(1) % uint32(len(m.endpoints)))
	for {
		var best *endpoint
		for i := range m.endpoints {
			e := m.endpoints[(start+i)%len(m.endpoints)]
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
	return fmt.Errorf("all of its %d replicas failed %d times in a row or more and are left alone for %s", len(m.endpoints), breakerFailures, wait.Round(time.Millisecond))
}
