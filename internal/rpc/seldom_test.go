package rpc

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// TestFailuresOfAStoreAreLoggedOnceASecond: the first of each kind at once, and then one that says how many others there were. Errors that
// nobody foresaw are logged each, since each caller has the id of its own.
func TestFailuresOfAStoreAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		i := &errorInterceptor{log: slog.New(slog.NewTextHandler(&log, nil))}
		lines := func() string {
			defer log.Reset()
			return log.String()
		}
		away := featurestore.Errorf(featurestore.Unavailable, "the store").Because(errors.New("refused"))
		fail := func(procedure string, err error, n int) {
			for range n {
				_ = i.toConnect(t.Context(), procedure, err)
			}
		}
		fail("/a", away, 100)
		fail("/b", away, 100)
		fail("/b", featurestore.Errorf(featurestore.Unavailable, "the model").Because(errors.New("broken")), 100)
		fail("/a", featurestore.Errorf(featurestore.Exhausted, "the store").Because(errors.New("busy")), 100)
		if got := lines(); strings.Count(got, "\n") != 4 || strings.Count(got, "others_since_last_line=0") != 4 || !strings.Contains(got, "refused") {
			t.Errorf("at once:\n%s", got)
		}
		time.Sleep(seldomEvery) //nolint:forbidigo // the bubble's clock
		fail("/a", away, 5)
		if got := lines(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "others_since_last_line=99") {
			t.Errorf("a second later:\n%s", got)
		}
		time.Sleep(seldomEvery) //nolint:forbidigo // the bubble's clock
		fail("/a", away, 1)
		if got := lines(); !strings.Contains(got, "others_since_last_line=4") {
			t.Errorf("another:\n%s", got)
		}
		fail("/a", errors.New("nobody foresaw it"), 7)
		if got := lines(); strings.Count(got, "\n") != 7 {
			t.Errorf("errors with an id:\n%s", got)
		}
	})
}
