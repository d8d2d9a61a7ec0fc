package online

import (
	"cmp"
	"context"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redial is the pause between two dials of one who searches for a server.
const redial = 50 * time.Millisecond

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// newDialer makes the dialer of a client that asks for each connection once: a caller is told at once that a server is gone, where go-redis would
// dial it five times within half a second, which is more than most callers have. What those dials are good for is done for all callers together: a
// pool in which as many dials failed as it has places refuses its callers by itself, and one dial a second searches for the server. That one goes on
// here until the server answers or its time is over, and so the server is found within [redial], not within a second.
func newDialer(options *redis.Options) dialer {
	options.DialTimeout = cmp.Or(options.DialTimeout, MaxRead) // no read waits longer anyway
	dial := redis.NewDialer(options)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil || !searching() {
			return conn, err
		}
		for err != nil {
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(redial):
			}
			before := err
			if conn, err = dial(ctx, network, address); err != nil && ctx.Err() != nil {
				err = before // which says more
			}
		}
		return conn, err
	}
}

// searching says whether a pool dials for itself, and no caller waits for it. Only the function that does so tells: a client has several pools, each
// with a count of its own. Were that function called otherwise one day, a server would be found within a second again.
func searching() bool {
	var counters [64]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters[:])])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "(*ConnPool).tryDial") {
			return true
		}
		if !more {
			return false
		}
	}
}
