package online

import (
	"cmp"
	"context"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// redial is the pause between two dials of one who waits for a server.
	redial = 50 * time.Millisecond
	// dialTimeout, serverPlaces and clusterPlaces are what go-redis has where a URL does not say: places of a pool by processor.
	dialTimeout                 = 5 * time.Second
	serverPlaces, clusterPlaces = 10, 5
)

// dials are those of a client, which asks for each connection once: a caller is told at once that a server is gone, where go-redis would dial
// it five times within half a second, which is more than most callers have. What those dials are good for is done for all callers together:
// a pool in which as many dials failed as it has places refuses its callers by itself, and one dial a second finds out whether the server is
// back. That one goes on here until the server answers or its time is over, and so the server is found within [redial], not within a second.
type dials struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	places  int      // of a server's pool
	servers sync.Map // of *refusals, by address
}

// newDials makes the dials of options, and says there how long each may take and how many places a pool has.
func newDials(options *redis.Options, places int) *dials {
	options.DialTimeout = cmp.Or(options.DialTimeout, dialTimeout)
	options.PoolSize = cmp.Or(options.PoolSize, places*runtime.GOMAXPROCS(0))
	return &dials{dial: redis.NewDialer(options), places: options.PoolSize}
}

// Dial connects, or fails, or waits for the server if it is the one that is to.
func (d *dials) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	found, _ := d.servers.LoadOrStore(address, &refusals{})
	server := found.(*refusals)
	waits := server.begin(d.places)
	conn, err := d.dial(ctx, network, address)
	for waits && err != nil && pause(ctx, redial) {
		before := err
		if conn, err = d.dial(ctx, network, address); err != nil && ctx.Err() != nil {
			err = before // which says more
		}
	}
	server.end(waits, err)
	return conn, err
}

// refusals are the dials of a server that failed since one that waited for it did not: go-redis counts in the same way.
type refusals struct {
	mu      sync.Mutex
	count   int
	waiting bool
}

// begin says whether a dial that begins is to wait for the server: one at a time, when as many failed as the pool has places.
func (r *refusals) begin(places int) (waits bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count < places || r.waiting {
		return false
	}
	r.waiting = true
	return true
}

// end notes how a dial ended.
func (r *refusals) end(waited bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if waited {
		r.waiting = false
	}
	switch {
	case err != nil:
		r.count++
	case waited:
		r.count = 0
	}
}

// pause returns false when the context ends before the time is over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
