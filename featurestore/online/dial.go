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

const (
	// redial is the pause between two dials of one who searches for a server.
	redial = 50 * time.Millisecond
	// longestSearch is after what time go-redis is asked whether the pool is still there, which that of a node that left its cluster is not.
	longestSearch = 30 * time.Second
)

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// newDialer makes the dialer of a client that asks for each connection once: a caller is told at once that a server is gone, where go-redis would
// dial it five times within half a second, which is more than most callers have. What those dials are good for is done for all callers together: a
// pool in which as many dials failed as it has places refuses its callers by itself, and one dial a second searches for the server. That one goes on
// here until the server answers or the life of the client is over, and so the server is found within [redial], not within a second, but for the
// second after each [longestSearch].
func newDialer(life context.Context, options *redis.Options) dialer {
	options.DialTimeout = cmp.Or(options.DialTimeout, MaxRead) // no read waits longer anyway
	dial := redis.NewDialer(options)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil || !searching() {
			return conn, err
		}
		search, cancel := context.WithTimeout(life, longestSearch) // ctx has the time of one dial
		defer cancel()
		for {
			select {
			case <-search.Done():
				return nil, err
			case <-time.After(redial):
			}
			if conn, err = dial(search, network, address); err == nil {
				return conn, nil
			}
		}
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
