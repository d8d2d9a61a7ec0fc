package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/onehop/onehop/internal/servers"
)

// checkTimeout bounds the first exchange with a server that was given.
const checkTimeout = 10 * time.Second

// dir is the part's place in the data directory; empty when nothing is kept.
func (c Config) dir(part string) string {
	if c.DataDir == "" {
		return ""
	}
	return filepath.Join(c.DataDir, part)
}

// given describes a server that exists already, once it has answered.
func given(ctx context.Context, name, address string, ask func(context.Context) (string, error)) (*started, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	version, err := ask(ctx)
	if err != nil {
		flag := strings.ToLower(name)
		return nil, fmt.Errorf("%s at %s, which --%s or ONEHOP_%s names, does not answer; without them it is started: %w", name, shown(address), flag, strings.ToUpper(name), err)
	}
	return &started{part: Part{Name: name, Kind: "given, version " + version, Addr: shown(address)}, url: address}, nil
}

// shown is the address without its password.
func shown(address string) string {
	if !strings.Contains(address, "://") {
		return address
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return "(no URL)"
	}
	return parsed.Host
}

func child(name, kind string, server *servers.Server) *started {
	return &started{
		part: Part{Name: name, Kind: kind + " " + server.Version(), Addr: server.Addr()},
		url:  server.URL(), server: server, stop: server.Stop,
	}
}

func startKafka(ctx context.Context, config Config) (*started, error) {
	if config.Kafka != "" {
		return given(ctx, "Kafka", config.Kafka, func(ctx context.Context) (string, error) {
			return servers.KafkaVersion(ctx, strings.Split(config.Kafka, ","))
		})
	}
	if config.RealKafka {
		server, err := servers.Kafka(ctx, servers.Options{Dir: config.dir("kafka")})
		if err != nil {
			return nil, err
		}
		return child("Kafka", "Apache Kafka", server), nil
	}
	options := []kfake.Opt{kfake.NumBrokers(1), kfake.DefaultNumPartitions(4), kfake.ClusterID("onehop-dev")}
	kind := "kfake in this process"
	if dir := config.dir("kfake"); dir != "" { // Not "kafka": the two can't read each other's files.
		options = append(options, kfake.DataDir(dir))
		kind += ", kept in " + dir
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return nil, fmt.Errorf("start the stand-in for Kafka: %w", err)
	}
	addr := strings.Join(cluster.ListenAddrs(), ",")
	return &started{
		part: Part{Name: "Kafka", Kind: kind, Addr: addr}, url: addr,
		stop: func() error { cluster.Close(); return nil },
	}, nil
}

func startRedis(ctx context.Context, config Config) (*started, error) {
	if config.Redis != "" {
		return given(ctx, "Redis", config.Redis, func(ctx context.Context) (string, error) {
			return servers.RedisVersion(ctx, config.Redis)
		})
	}
	server, err := servers.Redis(ctx, servers.Options{Dir: config.dir("redis")})
	if err == nil {
		return child("Redis", "redis-server", server), nil
	}
	if !errors.Is(err, servers.ErrNotInstalled) {
		return nil, err
	}
	return standInRedis(config, err)
}

// standInRedis runs miniredis, whose keys expire only when it is told that time has passed.
func standInRedis(config Config, reason error) (*started, error) {
	fake := miniredis.NewMiniRedis()
	if err := fake.Start(); err != nil {
		return nil, fmt.Errorf("start the stand-in for Redis: %w", err)
	}
	warning := "miniredis stands in for Redis"
	if config.DataDir != "" {
		warning += "; online features are not kept in the data directory: they are filled from Kafka again after a restart"
	}
	config.Log.Warn(warning, slog.String("reason", reason.Error()))
	quit := make(chan struct{})
	var clock sync.WaitGroup
	clock.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				fake.FastForward(now.Sub(last))
				last = now
			}
		}
	})
	return &started{
		part: Part{Name: "Redis", Kind: "miniredis in this process, nothing kept", Addr: fake.Addr()},
		url:  "redis://" + fake.Addr() + "/0",
		stop: func() error {
			close(quit)
			clock.Wait()
			fake.Close()
			return nil
		},
	}, nil
}

func startPostgres(ctx context.Context, config Config) (*started, error) {
	if config.Postgres != "" {
		return given(ctx, "Postgres", config.Postgres, func(ctx context.Context) (string, error) {
			return servers.PostgresVersion(ctx, config.Postgres)
		})
	}
	server, err := servers.Postgres(ctx, servers.Options{Dir: config.dir("postgres"), NoSync: config.DataDir == ""})
	if err != nil {
		return nil, err
	}
	return child("Postgres", "PostgreSQL", server), nil
}
