package oip

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
)

// Outcome is how one call to a replica ended.
type Outcome uint8

// The outcomes.
const (
	// OK is an answer that was believed.
	OK Outcome = iota
	// Refused is the model's refusal of the request's values.
	Refused
	// BadAnswer is an answer that does not fit the request or the model's description.
	BadAnswer
	// Failed is an error of the server: of the model, of the token.
	Failed
	// Unreachable is a replica that is away, overloaded, or does not have the model.
	Unreachable
	// TimedOut is a call that took longer than [Options].Timeout or the caller's deadline.
	TimedOut
	// Canceled is a call whose caller went away.
	Canceled
	// Outcomes is how many there are.
	Outcomes
)

// String names the outcome as metrics do.
func (o Outcome) String() string {
	return [...]string{"ok", "refused", "bad_answer", "failed", "unreachable", "timeout", "canceled"}[o]
}

// doubtful says that the replica may be to blame, or the request: how another replica answers tells.
func (o Outcome) doubtful() bool { return o == Failed || o == BadAnswer }

// Error is a run that failed.
type Error struct {
	// Model says which model, as [Options] name it.
	Model string
	// Endpoint is the replica; empty when none could be asked.
	Endpoint string
	// Server is its place among the Servers of model.yaml, from 1.
	Server, Servers int
	// Outcome is what kind of failure it is.
	Outcome Outcome
	// Err is what happened.
	Err error
}

// Error says which model, where, and what happened.
func (e *Error) Error() string {
	if e.Endpoint == "" {
		return fmt.Sprintf("%s: %v", e.Model, e.Err)
	}
	return fmt.Sprintf("%s at %s: %v", e.Model, e.Endpoint, e.Err)
}

// Unwrap is what happened.
func (e *Error) Unwrap() error { return e.Err }

// Unavailable says that the failure is not the request's: another try may succeed.
func (e *Error) Unavailable() bool { return e.Outcome == Unreachable || e.Outcome == TimedOut }

// errAnswer is wrapped by errors about what a server answered.
var errAnswer = errors.New("bad answer")

// outcomeOf classifies the error of one attempt; ctx is the caller's.
func outcomeOf(ctx context.Context, err error) Outcome {
	switch code := connect.CodeOf(err); {
	case err == nil:
		return OK
	case errors.Is(ctx.Err(), context.Canceled):
		return Canceled
	case ctx.Err() != nil || code == connect.CodeDeadlineExceeded:
		return TimedOut
	case errors.Is(err, errAnswer):
		return BadAnswer
	case !connect.IsWireError(err):
		return outcomeHere(code)
	default:
		return outcomeThere(code)
	}
}

// outcomeHere is of an error that this side found: of the connection, unless the answer could not be read.
func outcomeHere(code connect.Code) Outcome {
	switch code {
	case connect.CodeResourceExhausted, connect.CodeInvalidArgument, connect.CodeUnimplemented:
		return BadAnswer // too long, no protobuf, or compressed in a way that was not offered
	default:
		return Unreachable
	}
}

// outcomeThere is of an error that the server sent.
func outcomeThere(code connect.Code) Outcome {
	switch code {
	case connect.CodeInvalidArgument, connect.CodeOutOfRange:
		return Refused
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeAborted, connect.CodeCanceled, connect.CodeNotFound:
		return Unreachable // a server that starts does not have its models yet
	default:
		return Failed
	}
}
