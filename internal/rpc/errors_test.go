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

	"connectrpc.com/connect"

	"github.com/onehop/onehop/featurestore"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// TestErrorsTellNothingInternal maps errors to the wire: what a caller may know is said,
// causes and unknown errors are in the log only, under an id.
func TestErrorsTellNothingInternal(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
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
		"invalid":     {t.Context(), featurestore.Errorf(featurestore.Invalid, "field x"), connect.CodeInvalidArgument, "field x"},
		"wrapped":     {t.Context(), fmt.Errorf("deep: %w", featurestore.Errorf(featurestore.Unknown, "no x")), connect.CodeNotFound, "no x"},
		"with cause":  {t.Context(), featurestore.Errorf(featurestore.Unavailable, "the store").Because(cause), connect.CodeUnavailable, "the store"},
		"unknown":     {t.Context(), cause, connect.CodeInternal, "id "},
		"deadline":    {expired, cause, connect.CodeDeadlineExceeded, "deadline"},
		"caller gone": {gone, cause, connect.CodeCanceled, "went away"},
	} {
		err := toConnect(c.ctx, logger, "/p", c.err)
		if connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %s with %q and nothing of the cause", name, err, c.code, c.says)
		}
	}
	_, id, _ := strings.Cut(toConnect(t.Context(), logger, "/p", cause).Error(), "id ")
	if !strings.Contains(log.String(), id) || !strings.Contains(log.String(), "10.1.2.3") {
		t.Errorf("the log lacks the error under id %s:\n%s", id, log.String())
	}
}

func TestPanicsBecomeErrors(t *testing.T) {
	var log bytes.Buffer
	i := errorInterceptor{log: slog.New(slog.NewTextHandler(&log, nil))}
	next := i.WrapUnary(func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) { panic("boom") })
	_, err := next(t.Context(), connect.NewRequest(&onehopv1.ListModelsRequest{}))
	if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "boom") || !strings.Contains(log.String(), "boom") {
		t.Errorf("%v; log:\n%s", err, log.String())
	}
}

func TestScoresAreOrderedAndNaNsComeLast(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		a, b float32
		want int
	}{{2, 1, -1}, {1, 2, 1}, {1, 1, -1}, {nan, 1, 1}, {1, nan, -1}, {nan, nan, -1}} {
		if got := compareScores(c.a, c.b, 0, 1); got != c.want {
			t.Errorf("%v before %v: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
