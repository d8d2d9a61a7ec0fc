package chaos

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/internal/servers"
)

const (
	// floodMemory is what ingest is told it may use, in MiB.
	floodMemory = 64
	// floodBeside is what it may use beside that, in MiB: the pages of the program itself,
	// which the Go runtime does not count, are 34 of it.
	floodBeside = 40
	// maxCompared bounds the events whose rows are recomputed.
	maxCompared = 500_000
)

// flood sends events of distinct keys, each once or twice, as fast as they are made, to an
// ingest with little memory; then the same while Redis is slow for some seconds. What ingest
// cannot take must wait in Kafka.
func flood(ctx context.Context, s *Stand) error {
	server, err := servers.Redis(ctx, servers.Options{})
	if err != nil {
		return err
	}
	proxy, err := newProxy("flood", 0, server.Addr())
	if err != nil {
		return errors.Join(err, server.Stop())
	}
	s.atEnd = func() error {
		proxy.Cut()
		return server.Stop()
	}
	if err := s.useRedis(server.Addr()); err != nil {
		return err
	}
	s.redis = "redis://" + proxy.Addr() + "/0"
	s.Feed.dirt.Users = s.Size.Events / 6 * 5
	s.checker.Sample = s.Size.Events / maxCompared
	p, err := s.spawn(ctx, "ingest", "ONEHOP_INSTANCE=one", "ONEHOP_MEMORY_MB="+strconv.Itoa(floodMemory))
	if err == nil {
		err = p.Ready(ctx)
	}
	if err == nil {
		err = s.sendUpTo(ctx, s.Size.Events/2)
	}
	if err != nil {
		return err
	}
	if err := s.floodWithin(p, "peak_rss_mib"); err != nil {
		return err
	}
	if err := s.floodSlowly(ctx, proxy); err != nil {
		return err
	}
	if err := s.floodWithin(p, "peak_rss_slow_mib"); err != nil {
		return err
	}
	start := time.Now()
	if err := s.Drain(ctx); err != nil {
		return err
	}
	s.note("drained_seconds", time.Since(start).Seconds())
	return s.floodWithin(p, "peak_rss_drained_mib")
}

// floodSlowly sends the other half while each answer of Redis takes its time.
func (s *Stand) floodSlowly(ctx context.Context, proxy *Proxy) error {
	end, err := proxy.Harm(sloth)
	if err != nil {
		return err
	}
	until := time.Now().Add(time.Duration(s.Size.Times) * time.Second)
	if err := s.sendRest(ctx); err != nil {
		return err
	}
	if err := pause(ctx, time.Until(until)); err != nil {
		return err
	}
	at, err := s.position(ctx)
	if err != nil {
		return err
	}
	waiting := float64(at.onlineBehind) / featurestore.Buckets
	s.note("waiting_in_kafka", waiting)
	s.Say("Redis was slow: %.0f events wait in Kafka", waiting)
	if waiting == 0 {
		return errorf("nothing waits in Kafka: Redis was not slow enough to see what that does")
	}
	return end(ctx)
}

// floodWithin notes the peak of the memory so far, and fails when it is over the budget.
func (s *Stand) floodWithin(p *Process, figure string) error {
	peak, err := p.PeakMemory()
	if err != nil {
		return err
	}
	mib := float64(peak) / (1 << 20)
	s.note(figure, mib)
	s.Say("%s: %.0f", figure, mib)
	if mib > floodMemory+floodBeside {
		s.slow = errorf("ingest has used %.0f MiB of memory; %d and %d beside them are allowed", mib, floodMemory, floodBeside)
	}
	return nil
}
