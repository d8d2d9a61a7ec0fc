package servers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Redis starts the redis-server that is on PATH, with noeviction. It writes an append-only file when Options.Dir is set and
// nothing at all otherwise: a killed and restarted one is then empty.
func Redis(ctx context.Context, o Options) (*Server, error) { return startRedis(ctx, o) }

func startRedis(ctx context.Context, o Options, more ...string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis-server is %w: run `apt-get install redis-server` or `brew install redis`",
			ErrNotInstalled)
	}
	port, err := o.port(ctx)
	if err != nil {
		return nil, err
	}
	dir, keep, err := newDir(o, "redis")
	if err != nil {
		return nil, err
	}
	appendOnly := "no"
	if keep {
		appendOnly = "yes"
		more = append([]string{"--appendfsync", "always"}, more...) // what was answered is there after SIGKILL
	}
	args := []string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--protected-mode", "yes", "--dir", dir, "--daemonize", "no",
		"--maxmemory-policy", "noeviction", "--save", "", "--appendonly", appendOnly,
	}
	args = append(args, more...)
	url := "redis://" + localAddr(port) + "/0"
	return start(ctx, spec{
		name: "Redis", addr: localAddr(port), url: url, quit: syscall.SIGTERM,
		command: func() *command { return &command{path: program, args: args} },
		ready:   func(ctx context.Context) (string, error) { return RedisVersion(ctx, url) },
	}, dir, keep, o.StartTimeout)
}

// RedisVersion asks the server at the URL for its version, such as 7.4.1. It answers only when the server has loaded its
// data.
func RedisVersion(ctx context.Context, url string) (version string, err error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return "", fmt.Errorf("redis URL: %w", err)
	}
	options.MaxRetries = -1
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.Ping(ctx).Err(); err != nil { // LOADING is an error here, but none for INFO.
		return "", err
	}
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); ok {
			return version, nil
		}
	}
	return "", errors.New("INFO has no redis_version")
}
