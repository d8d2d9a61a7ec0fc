package online

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/onehop/onehop/featurestore"
)

// Store reads and writes rows in Redis. It is safe for concurrent use and does not
// own its client.
type Store struct {
	client   redis.UniversalClient
	cluster  bool
	gate     gate
	near     *Near              // nil for none
	stopNear context.CancelFunc // of near
}

// Open checks a server and returns a store over it. The server must answer, must not
// evict keys, and must know SET … PXAT (Redis 6.2).
func Open(ctx context.Context, client redis.UniversalClient) (*Store, error) {
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, featurestore.Errorf(featurestore.Unavailable, "Redis does not answer").Because(err)
	}
	_, cluster := client.(*redis.ClusterClient)
	policy, err := client.ConfigGet(ctx, "maxmemory-policy").Result()
	var unknown redis.Error
	switch {
	case errors.As(err, &unknown):
		// A stand-in without CONFIG (miniredis), or a managed server that hides it.
	case err != nil:
		return nil, fmt.Errorf("asking Redis for its maxmemory-policy: %w", err)
	case policy["maxmemory-policy"] != "noeviction":
		return nil, fmt.Errorf("the Redis server would evict rows (maxmemory-policy %s): set it to noeviction, "+
			"for example by redis-cli CONFIG SET maxmemory-policy noeviction", policy["maxmemory-policy"])
	}
	return &Store{client: client, cluster: cluster}, nil
}

// readBuffer is that of each connection, in bytes: the rows of a request are tens of KiB, and each part of a reply that a buffer does not hold is one
// read of the socket more.
const readBuffer = 64 << 10

// Connect makes a client for a URL: redis://[user:password@]host:port/db, rediss://
// for TLS; several hosts, separated by commas, mean a cluster. life is that of the client: while it lasts, a server that went away is searched for.
// go-redis writes no log of its own from then on: what it would say is in the errors that it returns.
func Connect(life context.Context, url string) (redis.UniversalClient, error) {
	logging.Disable()
	if strings.Contains(url, ",") {
		first, rest, _ := strings.Cut(url, ",")
		url = first + "?addr=" + strings.ReplaceAll(rest, ",", "&addr=")
		options, err := redis.ParseClusterURL(url)
		if err != nil {
			return nil, fmt.Errorf("the Redis URL is not valid: %w", err)
		}
		options.ContextTimeoutEnabled, options.ReadBufferSize = true, readBuffer
		one := &redis.Options{DialTimeout: options.DialTimeout, TLSConfig: options.TLSConfig}
		options.Dialer = newDialer(life, one)
		options.DialTimeout, options.DialerRetries = one.DialTimeout, 1
		return redis.NewClusterClient(options), nil
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("the Redis URL is not valid: %w", err)
	}
	options.ContextTimeoutEnabled = true // a caller's deadline holds for Redis too
	options.ReadBufferSize = readBuffer
	options.Dialer = newDialer(life, options)
	options.DialerRetries = 1
	return redis.NewClient(options), nil
}
