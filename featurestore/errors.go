package featurestore

import (
	"fmt"
	"time"
)

// Code says what kind of failure an [Error] is. internal/rpc maps codes to the
// codes of the wire.
type Code uint8

// The codes.
const (
	// Invalid means that the caller must change the request.
	Invalid Code = iota + 1
	// Unknown means that a named thing does not exist.
	Unknown
	// Unavailable means that a store or a model cannot answer now; a retry may
	// succeed.
	Unavailable
	// Exhausted means that a bound was reached.
	Exhausted
)

// Error is a failure that a caller may be told about: its message names the
// field or thing at fault and nothing internal.
type Error struct {
	Code    Code
	Message string
	// Cause is for the log; callers of the services never see it.
	Cause error
	// Retry is when another try has a chance; 0 says nothing.
	Retry time.Duration
}

// Error is the message, with the cause where there is one.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an [Error] with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Because is e with a cause.
func (e *Error) Because(cause error) *Error {
	e.Cause = cause
	return e
}

// After is e with a time from when on another try has a chance.
func (e *Error) After(retry time.Duration) *Error {
	e.Retry = retry
	return e
}
