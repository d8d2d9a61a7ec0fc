package servers_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/internal/servers"
)

// TestRedisClusterKeepsRows writes to all masters, kills one, and finds everything again.
func TestRedisClusterKeepsRows(t *testing.T) {
	ctx := within(t, time.Minute)
	cluster, err := servers.NewRedisCluster(ctx, 3, servers.Options{Dir: t.TempDir()})
	if errors.Is(err, servers.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	}()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs(), ContextTimeoutEnabled: true})
	defer func() { _ = client.Close() }()
	for i := range 50 {
		if err := client.Set(ctx, fmt.Sprint("key", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, master := range cluster.Masters {
		own := redis.NewClient(&redis.Options{Addr: master.Addr()})
		if n, err := own.DBSize(ctx).Result(); err != nil || n == 0 {
			t.Errorf("the master at %s has %d keys, %v", master.Addr(), n, err)
		}
		_ = own.Close()
	}
	cluster.Masters[1].Kill()
	if err := errors.Join(cluster.Masters[1].Restart(ctx), cluster.Ready(ctx)); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if got, err := client.Get(ctx, fmt.Sprint("key", i)).Int(); err != nil || got != i {
			t.Fatalf("key %d is %d, %v", i, got, err)
		}
	}
}

// TestKafkaClusterOutlivesABroker writes to a topic on three brokers when one of them is gone.
func TestKafkaClusterOutlivesABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("three brokers take a while")
	}
	ctx := within(t, 2*time.Minute)
	cluster, err := servers.NewKafkaCluster(ctx, 3, servers.Options{})
	if errors.Is(err, servers.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	}()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Addrs()...), kgo.DefaultProduceTopic("events"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, 3, -1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	topics, err := admin.ListTopics(ctx, "events")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range topics["events"].Partitions {
		if len(p.Replicas) != 3 {
			t.Errorf("partition %d is on brokers %v", p.Partition, p.Replicas)
		}
	}
	cluster.Brokers[2].Kill()
	write := func(ctx context.Context) error {
		var errs []error
		for i := range 30 {
			errs = append(errs, client.ProduceSync(ctx, kgo.KeyStringRecord(strconv.Itoa(i), "event")).FirstErr())
		}
		return errors.Join(errs...)
	}
	if err := write(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cluster.Brokers[2].Restart(ctx), cluster.Ready(ctx), write(ctx)); err != nil {
		t.Fatal(err)
	}
}
