package oip

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

var errDialerClosed = errors.New("the model was unloaded")

// dialer opens connections and closes all of them at the end: a transport closes only those that are idle at that moment.
type dialer struct {
	net net.Dialer

	mu     sync.Mutex // guards what follows
	open   map[*connection]struct{}
	closed bool
}

func newDialer(timeout time.Duration) *dialer {
	return &dialer{net: net.Dialer{Timeout: timeout}, open: map[*connection]struct{}{}}
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.Join(errDialerClosed, conn.Close())
	}
	c := &connection{Conn: conn, dialer: d}
	d.open[c] = struct{}{}
	return c, nil
}

// close ends all connections, and those to come.
func (d *dialer) close() {
	d.mu.Lock()
	d.closed = true
	open := d.open
	d.open = nil
	d.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // nothing is under way on it
	}
}

// connection leaves the dialer's list when it is closed.
type connection struct {
	net.Conn
	dialer *dialer
}

// Close closes the connection.
func (c *connection) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
