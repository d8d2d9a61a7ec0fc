// Package rpc answers the RPCs of schemas/onehop/v1: it turns messages into nouns and
// back, and errors into codes. It is the only package that knows both.
package rpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/onehop/onehop/featurestore"
)

var codes = map[featurestore.Code]connect.Code{
	featurestore.Invalid:     connect.CodeInvalidArgument,
	featurestore.Unknown:     connect.CodeNotFound,
	featurestore.Unavailable: connect.CodeUnavailable,
	featurestore.Exhausted:   connect.CodeResourceExhausted,
}

// toConnect maps an error to the wire. What a caller may know is said; anything else
// becomes a generic message with an id under which the log has the error.
func (i *errorInterceptor) toConnect(ctx context.Context, procedure string, err error) error {
	var known *featurestore.Error
	var already *connect.Error
	switch {
	case errors.As(err, &already):
		return err
	case past(ctx) && !errors.Is(ctx.Err(), context.Canceled): // whatever failed because of it
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the deadline passed before the answer was ready"))
	case ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, errors.New("the caller went away"))
	case errors.As(err, &known):
		if known.Cause != nil {
			i.stores.failed(ctx, i.log, procedure, known, err)
		}
		return toWire(known)
	}
	id := newID()
	i.log.ErrorContext(ctx, "a request failed", "procedure", procedure, "id", id, "error", err)
	return connect.NewError(connect.CodeInternal, fmt.Errorf("internal error; the service's log has it under id %s", id))
}

// toWire is an error as a caller sees it, with the time of the next try as google.rpc.RetryInfo.
func toWire(known *featurestore.Error) *connect.Error {
	err := connect.NewError(codes[known.Code], errors.New(known.Message))
	if known.Retry > 0 {
		if detail, detailErr := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(known.Retry)}); detailErr == nil {
			err.AddDetail(detail)
		}
	}
	return err
}

func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return hex.EncodeToString(b[:])
}

// errorInterceptor maps the errors of handlers, and turns a panic into one.
type errorInterceptor struct {
	log    *slog.Logger
	stores seldom // failures that callers know of, whose cause only the log has
}

func (i *errorInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (res connect.AnyResponse, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			if err != nil {
				res, err = nil, i.toConnect(ctx, req.Spec().Procedure, err)
			}
		}()
		return next(ctx, req)
	}
}

func (i *errorInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i *errorInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			if err != nil {
				err = i.toConnect(ctx, conn.Spec().Procedure, err)
			}
		}()
		return next(ctx, conn)
	}
}
