package online

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

// TestAServerThatIsGoneIsToldSoon: before the deadline of a caller, to the first as to all.
func TestAServerThatIsGoneIsToldSoon(t *testing.T) {
	for name, c := range map[string]struct {
		times, calls int
		within       time.Duration
	}{
		"server":  {1, 12, 500 * time.Millisecond}, // by each of its pools, until both refuse by themselves
		"cluster": {2, 3, 2 * time.Second},         // where go-redis pauses to look for the key elsewhere
	} {
		server := miniredis.RunT(t)
		client, err := Connect(t.Context(), "redis://"+strings.Repeat(","+server.Addr(), c.times)[1:])
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(name, err)
		}
		server.Close()
		for range c.calls {
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			_, piped := client.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Get(ctx, "key").Err() })
			for _, err := range []error{client.Get(ctx, "key").Err(), piped} {
				if err == nil || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			cancel()
		}
		_ = client.Close()
	}
}

// TestAServerThatIsBackIsFoundSoon: though it was away for so long that callers are refused without being dialled for. go-redis looks once a
// second, of which outages of different lengths hit different parts, and for no longer than a dial may take.
func TestAServerThatIsBackIsFoundSoon(t *testing.T) {
	server := miniredis.RunT(t)
	client, err := Connect(t.Context(), "redis://"+server.Addr()+"?dial_timeout=1s")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for _, away := range []time.Duration{1000 * time.Millisecond, 1300 * time.Millisecond, 1600 * time.Millisecond} {
		server.Close()
		began := time.Now()
		for client.Get(t.Context(), "key").Err() != nil && time.Since(began) < away {
			<-time.After(time.Millisecond)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		for {
			err := client.Get(t.Context(), "key").Err()
			took := time.Since(began)
			if errors.Is(err, redis.Nil) {
				t.Logf("found after %s", took)
				break
			}
			if took > 400*time.Millisecond {
				t.Fatalf("after %s, for %s: %v", away, took, err)
			}
			<-time.After(time.Millisecond)
		}
	}
}

// TestASearchEndsWithItsClient, and so no longer than a pause of go-redis after its life.
func TestASearchEndsWithItsClient(t *testing.T) {
	server := miniredis.RunT(t)
	life, end := context.WithCancel(t.Context())
	client, err := Connect(life, "redis://"+server.Addr()+"?max_retries=-1")
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	for range 2 * poolSize(client) {
		_ = client.Get(t.Context(), "key").Err()
	}
	if !searched() {
		t.Fatal("nobody searches for the server")
	}
	_ = client.Close()
	end()
	for deadline := time.Now().Add(3 * time.Second); searched(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the search outlives its client")
		}
	}
}

func poolSize(client redis.UniversalClient) int { return client.(*redis.Client).Options().PoolSize }

// searched says whether a pool searches for a server.
func searched() bool {
	stacks := make([]byte, 1<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), ").tryDial(")
}

// TestAServerThatTakesNoConnections: neither refusing nor answering them, as behind a firewall. A caller without a deadline is not kept for longer
// than by a server that hangs.
func TestAServerThatTakesNoConnections(t *testing.T) {
	client, err := Connect(t.Context(), "redis://"+full(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	store := &Store{client: client}
	for range 2 {
		start := time.Now()
		r := store.NewRead()
		r.Add(newView("{x:v@1"), []byte("1"))
		err := r.Do(t.Context())
		r.Release()
		if took := time.Since(start); err == nil || took > MaxRead+time.Second {
			t.Errorf("%v after %s, want an error within %s", err, took, MaxRead)
		}
	}
}

// full is the address of a listener whose queue is full: dials to it hang.
func full(t *testing.T) (address string) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(socket) })
	if err := errors.Join(unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(socket, 0)); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
	for {
		conn, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}
