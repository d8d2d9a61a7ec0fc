package servers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are picked below the range that systems use for outgoing connections (32768 and up on Linux, 49152 elsewhere), so
// that none of those takes a port while its server is down.
const (
	lowPort  = 16384
	highPort = 32768
)

// FreePort returns a port of 127.0.0.1 that nobody listens on.
func FreePort(ctx context.Context) (int, error) {
	var last error
	for range 100 {
		port := lowPort + rand.IntN(highPort-lowPort)
		if last = tryPort(ctx, port); last == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d on 127.0.0.1: %w", lowPort, highPort, last)
}

func localAddr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func tryPort(ctx context.Context, port int) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", localAddr(port))
	if err != nil {
		return err
	}
	return listener.Close()
}

// port is the one the options ask for, or a free one. A port that is taken is told here and not by the server: the other
// program might answer in its place.
func (o Options) port(ctx context.Context) (int, error) {
	if o.Port == 0 {
		return FreePort(ctx)
	}
	if err := tryPort(ctx, o.Port); err != nil {
		return 0, fmt.Errorf("%w: stop the program that listens there, or choose another port", err)
	}
	return o.Port, nil
}
