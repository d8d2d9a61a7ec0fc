package online

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
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
		client, err := Connect("redis://" + strings.Repeat(","+server.Addr(), c.times)[1:])
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
		if err := server.Restart(); err != nil { // else the pool's search for it would outlive the client
			t.Fatal(err)
		}
		for client.Ping(t.Context()).Err() != nil && t.Context().Err() == nil {
			<-time.After(time.Millisecond)
		}
		_ = client.Close()
	}
}

// TestAServerThatIsBackIsFoundSoon: though it was away for so long that callers are refused without being dialled for. go-redis looks once a
// second, of which three outages hit different parts.
func TestAServerThatIsBackIsFoundSoon(t *testing.T) {
	server := miniredis.RunT(t)
	client, err := Connect("redis://" + server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for away := time.Second; away < 1900*time.Millisecond; away += 300 * time.Millisecond {
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
				t.Fatalf("for %s: %v", took, err)
			}
			<-time.After(time.Millisecond)
		}
	}
}
