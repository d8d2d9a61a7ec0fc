package chaos

import (
	"context"
	"errors"
	"os"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/internal/servers"
)

// cluster is what a clustered fault has for itself: three brokers and three masters.
type cluster struct {
	kafka *servers.KafkaCluster
	redis *servers.RedisCluster
}

const clusterSize = 3

// useCluster starts a cluster and lets services and checker find it. The masters have
// append-only files: one that is killed comes back with its slots.
func (s *Stand) useCluster(ctx context.Context) error {
	s.cluster = &cluster{}
	s.atEnd = s.cluster.stop
	dir, err := os.MkdirTemp(s.world.dir, "cluster-")
	if err != nil {
		return errorf("a directory for Redis: %w", err)
	}
	group, starting := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		s.cluster.kafka, err = servers.NewKafkaCluster(starting, clusterSize, servers.Options{})
		return err
	})
	group.Go(func() (err error) {
		s.cluster.redis, err = servers.NewRedisCluster(starting, clusterSize, servers.Options{Dir: dir})
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	s.brokers, s.redis = s.cluster.kafka.Addrs(), s.cluster.redis.URL()
	err = s.checker.Redis.Close()
	s.checker.Redis = redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.cluster.redis.Addrs(), ContextTimeoutEnabled: true})
	return err
}

func (c *cluster) stop() (err error) {
	if c.kafka != nil {
		err = c.kafka.Stop()
	}
	if c.redis != nil {
		err = errors.Join(err, c.redis.Stop())
	}
	return err
}
