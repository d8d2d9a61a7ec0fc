package oip

import (
	"errors"
	"fmt"
	"testing"
)

// TestPublic: whatever errors are around them and within, servers are named by their place, and what they said is not told.
func TestPublic(t *testing.T) {
	at := func(server int, outcome Outcome, err error) *Error {
		return &Error{Model: "remote model \"m\"", Endpoint: fmt.Sprintf("gpu-%d:8001", server), Server: server, Servers: 3, Outcome: outcome, Err: err}
	}
	refused := errors.New("unavailable: dial tcp 10.0.0.9:8001: connection refused")
	for want, err := range map[string]error{
		"it is broken": errors.New("it is broken"),
		`remote model "m" at server 2 of 3: unreachable; the log of infer says more`:                                                                        at(2, Unreachable, refused),
		`trial: remote model "m" at server 1 of 3: bad answer: no output "y"`:                                                                               fmt.Errorf("trial: %w", at(1, BadAnswer, fmt.Errorf("%w: no output \"y\"", errAnswer))),
		`remote model "m": all of its 3 replicas failed`:                                                                                                    &Error{Model: "remote model \"m\"", Outcome: Unreachable, Err: errors.New("all of its 3 replicas failed")},
		"remote model \"m\" at server 1 of 3: failed; the log of infer says more\nremote model \"m\" at server 2 of 3: timeout; the log of infer says more": errors.Join(at(1, Failed, refused), at(2, TimedOut, refused)),
		`remote model "m" at server 3 of 3: bad answer; tried after remote model "m" at server 1 of 3: unreachable; the log of infer says more`:             at(3, BadAnswer, fmt.Errorf("%w; tried after %w", errAnswer, at(1, Unreachable, refused))),
	} {
		if got := Public(err); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
