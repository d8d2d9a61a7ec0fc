package servers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// KafkaCluster is a cluster of Kafka servers, each a broker and a controller.
type KafkaCluster struct{ Brokers []*Server }

// NewKafkaCluster starts Apache Kafka on n brokers with little memory each. Topics are on
// three of them unless they say otherwise, and take writes while two have them.
// Options.Port and Options.Behind mean nothing here.
func NewKafkaCluster(ctx context.Context, n int, o Options) (_ *KafkaCluster, err error) {
	nodes, err := kafkaNodes(ctx, n)
	if err != nil {
		return nil, err
	}
	c := &KafkaCluster{Brokers: make([]*Server, n)}
	group, starting := errgroup.WithContext(ctx)
	for i, node := range nodes {
		group.Go(func() (err error) {
			c.Brokers[i], err = startKafka(starting, o.numbered(i), node)
			return err
		})
	}
	if err = group.Wait(); err == nil {
		err = c.Ready(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// kafkaNodes chooses ports, and lets each node know all controllers.
func kafkaNodes(ctx context.Context, n int) ([]kafkaNode, error) {
	nodes := make([]kafkaNode, n)
	cluster := newClusterID()
	voters := make([]string, n)
	for i := range nodes {
		port, err := FreePort(ctx)
		if err != nil {
			return nil, err
		}
		controller, err := FreePort(ctx)
		if err != nil {
			return nil, err
		}
		nodes[i] = kafkaNode{id: i + 1, port: port, controller: controller, cluster: cluster, heap: "-Xmx256m", replicas: min(n, 3)}
		voters[i] = strconv.Itoa(i+1) + "@" + localAddr(controller)
	}
	for i := range nodes {
		nodes[i].voters = strings.Join(voters, ",")
	}
	return nodes, nil
}

// Ready waits until all brokers are there.
func (c *KafkaCluster) Ready(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...))
	if err != nil {
		return fmt.Errorf("kafka brokers: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		metadata, err := kadm.NewClient(client).BrokerMetadata(ctx)
		if err == nil && len(metadata.Brokers) == len(c.Brokers) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d of %d brokers are there", len(metadata.Brokers), len(c.Brokers)), err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Addrs are the addresses of the brokers, host:port.
func (c *KafkaCluster) Addrs() []string { return addrs(c.Brokers) }

// Stop ends all brokers.
func (c *KafkaCluster) Stop() error { return stopAll(c.Brokers) }

// numbered are the options of one of several servers.
func (o Options) numbered(i int) Options {
	o.Port, o.Behind = 0, nil
	if o.Dir != "" {
		o.Dir = filepath.Join(o.Dir, strconv.Itoa(i+1))
	}
	return o
}

func addrs(list []*Server) (addrs []string) {
	for _, s := range list {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// stopAll ends servers, side by side: each may take a while. Those that never started are nil.
func stopAll(list []*Server) error {
	errs := make([]error, len(list))
	var group sync.WaitGroup
	for i, s := range list {
		if s != nil {
			group.Go(func() { errs[i] = s.Stop() })
		}
	}
	group.Wait()
	return errors.Join(errs...)
}
