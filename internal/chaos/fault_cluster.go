package chaos

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/servers"
)

const (
	// clusterRate is how many events a second flow to all partitions.
	clusterRate = 1500
	// maxStand is how long a partition that stays with its owner may stand.
	maxStand = time.Second
)

// clustered changes the members of the groups as an operator does, and watches each
// partition meanwhile; then it kills a broker and a master.
func clustered(ctx context.Context, s *Stand) error {
	m := &membership{Stand: s, watches: map[string]*watch{"online": newWatch(), "history": newWatch()}}
	s.Feed.acknowledged = func(records []*kgo.Record) {
		for _, w := range m.watches {
			w.sent(records, time.Now())
		}
	}
	for _, instance := range []string{"one", "two", "", ""} { // two that keep a name, two that come and go
		if err := m.join(ctx, instance); err != nil {
			return err
		}
	}
	topic, _, err := stream.Logs(ctx, s.kafka, s.checker.Topic())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	watching, finish := context.WithCancel(ctx)
	for name, look := range s.looks(topic) {
		group.Go(func() error {
			m.watches[name].watching(watching, look)
			return nil
		})
	}
	group.Go(func() error {
		defer finish()
		return s.streaming(ctx, clusterRate, func(ctx context.Context) error {
			if err := m.settled(ctx); err != nil {
				return err
			}
			for i := range s.Size.Times {
				s.Say("round %d of %d", i+1, s.Size.Times)
				if err := m.round(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return group.Wait()
}

// round is each planned change once, and each server killed once.
func (m *membership) round(ctx context.Context) error {
	for _, change := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"restart", m.restart}, {"scale_in", m.scaleIn}, {"scale_out", m.scaleOut},
	} {
		if err := m.planned(ctx, change.name, change.do); err != nil {
			return errorf("%s: %w", change.name, err)
		}
	}
	broker := m.cluster.kafka.Brokers[m.Random.IntN(clusterSize)]
	if err := m.crash(ctx, broker, m.cluster.kafka.Ready); err != nil {
		return err
	}
	return m.crash(ctx, m.cluster.redis.Masters[m.Random.IntN(clusterSize)], m.cluster.redis.Ready)
}

// crash kills a server and starts it again, and ingest must go on when its cluster is whole.
func (m *membership) crash(ctx context.Context, server *servers.Server, ready func(context.Context) error) error {
	server.Kill()
	if err := m.someTime(ctx, 100*time.Millisecond, 3*time.Second); err != nil {
		return err
	}
	if err := server.Restart(ctx); err != nil {
		return err
	}
	if err := ready(ctx); err != nil {
		return err
	}
	if err := m.Resumed(ctx); err != nil {
		return errorf("%s is back: %w", server.Name(), err)
	}
	m.Say("%s killed and back; worst %s", server.Name(), m.worst.Round(time.Millisecond))
	return m.settled(ctx)
}
