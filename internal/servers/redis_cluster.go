package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// RedisCluster is a Redis Cluster of masters without replicas.
type RedisCluster struct {
	// Masters each own an even share of the slots.
	Masters []*Server
}

const redisSlots = 16384

// NewRedisCluster starts a Redis Cluster of n masters. A master that is gone takes its slots
// with it, and the others go on with theirs. With Options.Dir each has an append-only file in a
// directory of its own below it.
func NewRedisCluster(ctx context.Context, n int, o Options) (_ *RedisCluster, err error) {
	c := &RedisCluster{Masters: make([]*Server, n)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	buses := make([]int, n)
	group, starting := errgroup.WithContext(ctx)
	for i := range n {
		if buses[i], err = FreePort(ctx); err != nil {
			return nil, errors.Join(err, group.Wait())
		}
		group.Go(func() (err error) {
			c.Masters[i], err = startRedis(starting, o.numbered(i), "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(buses[i]),
				"--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := c.meet(ctx, buses); err != nil {
		return nil, err
	}
	return c, c.Ready(ctx)
}

// meet shares out the slots and makes the masters known to the first.
func (c *RedisCluster) meet(ctx context.Context, buses []int) error {
	for i, master := range c.Masters {
		n := len(c.Masters)
		client := redis.NewClient(&redis.Options{Addr: master.Addr()})
		err := client.ClusterAddSlotsRange(ctx, i*redisSlots/n, (i+1)*redisSlots/n-1).Err()
		if err == nil && i > 0 {
			_, port, _ := net.SplitHostPort(c.Masters[0].Addr())
			err = client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", port, buses[0]).Err()
		}
		if err = errors.Join(err, client.Close()); err != nil {
			return fmt.Errorf("making a cluster of Redis servers: %w", err)
		}
	}
	return nil
}

// Ready waits until every master knows all of them and finds the cluster whole.
func (c *RedisCluster) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, master := range c.Masters {
		client := redis.NewClient(&redis.Options{Addr: master.Addr(), ContextTimeoutEnabled: true})
		err := c.whole(ctx, client)
		if err = errors.Join(err, client.Close()); err != nil {
			return fmt.Errorf("the Redis server at %s: %w", master.Addr(), err)
		}
	}
	return nil
}

func (c *RedisCluster) whole(ctx context.Context, client *redis.Client) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		info, err := client.ClusterInfo(ctx).Result()
		if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_size:%d\r", len(c.Masters))) &&
			strings.Contains(info, fmt.Sprintf("cluster_slots_ok:%d\r", redisSlots)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the cluster is not whole: %s", info), err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Addrs are the addresses of the masters, host:port.
func (c *RedisCluster) Addrs() []string { return addrs(c.Masters) }

// URL is what services are configured with.
func (c *RedisCluster) URL() string {
	list := c.Addrs()
	if len(list) == 1 {
		list = append(list, list[0]) // several hosts mean a cluster
	}
	return "redis://" + strings.Join(list, ",")
}

// Stop ends all masters.
func (c *RedisCluster) Stop() error { return stopAll(c.Masters) }
