package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/online"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// TestErrorsTellNothingInternal maps errors to the wire: what a caller may know is said,
// causes and unknown errors are in the log only, under an id.
func TestErrorsTellNothingInternal(t *testing.T) {
	var log bytes.Buffer
	i := &errorInterceptor{log: slog.New(slog.NewTextHandler(&log, nil))}
	cause := errors.New("dial tcp 10.1.2.3:6379: password=hunter2")
	expired, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	gone, leave := context.WithCancel(t.Context())
	leave()
	for name, c := range map[string]struct {
		ctx  context.Context //nolint:containedctx // the case's, not the struct's
		err  error
		code connect.Code
		says string
	}{
		"invalid":               {t.Context(), featurestore.Errorf(featurestore.Invalid, "field x"), connect.CodeInvalidArgument, "field x"},
		"wrapped":               {t.Context(), fmt.Errorf("deep: %w", featurestore.Errorf(featurestore.Unknown, "no x")), connect.CodeNotFound, "no x"},
		"with cause":            {t.Context(), featurestore.Errorf(featurestore.Unavailable, "the store").Because(cause), connect.CodeUnavailable, "the store"},
		"unknown":               {t.Context(), cause, connect.CodeInternal, "id "},
		"deadline":              {expired, cause, connect.CodeDeadlineExceeded, "deadline"},
		"deadline by the clock": {online.Until(t.Context(), time.Now()), featurestore.Errorf(featurestore.Exhausted, "busy"), connect.CodeDeadlineExceeded, "deadline"},
		"caller gone":           {gone, cause, connect.CodeCanceled, "went away"},
	} {
		err := i.toConnect(c.ctx, "/p", c.err)
		if connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %s with %q and nothing of the cause", name, err, c.code, c.says)
		}
	}
	_, id, _ := strings.Cut(i.toConnect(t.Context(), "/p", cause).Error(), "id ")
	if !strings.Contains(log.String(), id) || !strings.Contains(log.String(), "10.1.2.3") {
		t.Errorf("the log lacks the error under id %s:\n%s", id, log.String())
	}
}

func TestPanicsBecomeErrors(t *testing.T) {
	var log bytes.Buffer
	i := &errorInterceptor{log: slog.New(slog.NewTextHandler(&log, nil))}
	next := i.WrapUnary(func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) { panic("boom") })
	_, err := next(t.Context(), connect.NewRequest(&onehopv1.ListModelsRequest{}))
	if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "boom") || !strings.Contains(log.String(), "boom") {
		t.Errorf("%v; log:\n%s", err, log.String())
	}
}

func TestScoresAreOrderedAndNaNsComeLast(t *testing.T) {
	nan := float32(math.NaN())
	inf := float32(math.Inf(1))
	best := []float32{inf, math.MaxFloat32, 2, 1, math.SmallestNonzeroFloat32, 0, -math.SmallestNonzeroFloat32, -1, -2, -math.MaxFloat32, -inf, nan}
	minusZero, otherNaN := float32(math.Copysign(0, -1)), math.Float32frombits(0xffc00001)
	for i, a := range best {
		for j, b := range best {
			if before := place(a, 0) < place(b, 1); before != (i <= j) {
				t.Errorf("%v comes before %v, which comes after it in the request: %t", a, b, before)
			}
		}
	}
	for _, c := range [][2]float32{{0, minusZero}, {minusZero, 0}, {nan, otherNaN}, {otherNaN, nan}} {
		if place(c[0], 0) >= place(c[1], 1) || place(c[0], 1) <= place(c[1], 0) {
			t.Errorf("%v and %v do not keep the request's order", c[0], c[1])
		}
	}
}
