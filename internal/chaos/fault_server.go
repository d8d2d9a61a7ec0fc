package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/onehop/onehop/internal/servers"
)

func kafkaOf(w *World) *servers.Server    { return w.Kafka }
func redisOf(w *World) *servers.Server    { return w.Redis }
func postgresOf(w *World) *servers.Server { return w.Postgres }

// restart kills a server, leaves it dead for a while and starts it again; ingest must go on
// soon after the server answers.
func restart(which func(*World) *servers.Server) func(context.Context, *Stand) error {
	return func(ctx context.Context, s *Stand) error {
		if _, err := s.IngestReady(ctx, "one"); err != nil {
			return err
		}
		server := which(s.world)
		return s.streaming(ctx, s.rate(), func(ctx context.Context) error {
			for i := range s.Size.Times {
				if err := s.someTime(ctx, 300*time.Millisecond, 1500*time.Millisecond); err != nil {
					return err
				}
				server.Kill()
				if err := s.someTime(ctx, 100*time.Millisecond, 3*time.Second); err != nil {
					return err
				}
				if err := server.Restart(ctx); err != nil {
					return err
				}
				if err := s.Resumed(ctx); err != nil {
					return fmt.Errorf("%s is back: %w", server.Name(), err)
				}
				s.Say("%s back %d of %d; worst %s", server.Name(), i+1, s.Size.Times, s.worst.Round(time.Millisecond))
			}
			return nil
		})
	}
}

// rate of a stream that lasts about as long as the repeats.
func (s *Stand) rate() int { return max(1000, s.Size.Events/s.Size.Times/5) }

// harms are what happens to a network.
var harms = []struct {
	name string
	do   func(*Proxy) (end func(context.Context) error, err error)
}{
	{"cut", func(p *Proxy) (func(context.Context) error, error) {
		p.Cut()
		return func(context.Context) error { return p.Mend() }, nil
	}},
	{"silent", func(p *Proxy) (func(context.Context) error, error) { return p.Harm(silence) }},
	{"slow", func(p *Proxy) (func(context.Context) error, error) { return p.Harm(sloth) }},
}

// network harms the way to each server in each way, in an order that the seed draws.
func network(ctx context.Context, s *Stand) error {
	s.redis = "redis://" + s.world.proxies["redis"].Addr() + "/0"
	if _, err := s.IngestReady(ctx, "one"); err != nil {
		return err
	}
	names := []string{"kafka", "redis", "postgres"}
	return s.streaming(ctx, max(1000, s.rate()/30), func(ctx context.Context) error {
		for i := range s.Size.Times {
			for _, at := range s.Random.Perm(len(names) * len(harms)) {
				name, harm := names[at/len(harms)], harms[at%len(harms)]
				end, err := harm.do(s.world.proxies[name])
				if err != nil {
					return err
				}
				if err := s.someTime(ctx, 500*time.Millisecond, 2*time.Second); err != nil {
					return err
				}
				if err := end(ctx); err != nil {
					return err
				}
				if err := s.Resumed(ctx); err != nil {
					return fmt.Errorf("the way to %s was %s: %w", name, harm.name, err)
				}
			}
			s.Say("round %d of %d; worst %s", i+1, s.Size.Times, s.worst.Round(time.Millisecond))
		}
		return nil
	})
}
