package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/internal/servers"
)

// pair is a primary and a replica. Services reach the primary through front; replication
// goes through back.
type pair struct {
	primary, replica *servers.Server
	front, back      *Proxy
}

func newPair(ctx context.Context) (p *pair, err error) {
	p = &pair{}
	if p.primary, err = servers.Redis(ctx, servers.Options{}); err != nil {
		return p, err
	}
	if p.replica, err = servers.Redis(ctx, servers.Options{}); err != nil {
		return p, err
	}
	if p.front, err = newProxy("primary", 0, p.primary.Addr()); err != nil {
		return p, err
	}
	p.back, err = newProxy("replication", 0, p.primary.Addr())
	return p, err
}

func (p *pair) close() error {
	for _, proxy := range []*Proxy{p.front, p.back} {
		if proxy != nil {
			proxy.Cut()
		}
	}
	var errs []error
	for _, server := range []*servers.Server{p.primary, p.replica} {
		if server != nil {
			errs = append(errs, server.Stop())
		}
	}
	return errors.Join(errs...)
}

// on runs a command on a server of the pair.
func on(ctx context.Context, server *servers.Server, args ...any) (string, error) {
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer func() { _ = client.Close() }()
	text, err := client.Do(ctx, args...).Text()
	if err != nil {
		return "", fmt.Errorf("redis: %v: %w", args, err)
	}
	return text, nil
}

// replication reads a number or word of INFO replication.
func replication(ctx context.Context, server *servers.Server, field string) (string, error) {
	info, err := on(ctx, server, "INFO", "replication")
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return value, nil
		}
	}
	return "", errors.Join(err, fmt.Errorf("INFO replication has no %s", field))
}

func offset(ctx context.Context, server *servers.Server, field string) (int64, error) {
	text, err := replication(ctx, server, field)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// follow lets the replica copy the primary and waits until it follows.
func (p *pair) follow(ctx context.Context) error {
	if _, err := on(ctx, p.primary, "CONFIG", "SET", "repl-diskless-sync-delay", "0"); err != nil {
		return err
	}
	host, port, _ := strings.Cut(p.back.Addr(), ":")
	if _, err := on(ctx, p.replica, "REPLICAOF", host, port); err != nil {
		return err
	}
	return eventually(ctx, 30*time.Second, "the replica follows", func(ctx context.Context) error {
		status, err := replication(ctx, p.replica, "master_link_status")
		if err == nil && status != "up" {
			err = errorf("the link is %s", status)
		}
		return err
	})
}

// failover loses acknowledged writes: replication is cut, the primary killed some writes
// later, the replica promoted.
func failover(ctx context.Context, s *Stand) (err error) {
	p, err := newPair(ctx)
	s.atEnd = func() error { return p.close() }
	if err != nil {
		return err
	}
	if err := s.useRedis(p.front.Addr()); err != nil {
		return err
	}
	if err := p.follow(ctx); err != nil {
		return err
	}
	if _, err := s.IngestReady(ctx, "one"); err != nil {
		return err
	}
	return s.streaming(ctx, s.rate(), func(ctx context.Context) error {
		for i := range s.Size.Times {
			lost, err := p.lose(ctx, s)
			if err != nil {
				return err
			}
			if err := s.Resumed(ctx); err != nil {
				return err
			}
			if least, ok := s.figures["least_unreplicated_share"]; !ok || lost < least {
				s.note("least_unreplicated_share", lost)
			}
			s.Say("failover %d of %d: %.0f %% of the writes unreplicated; worst %s", i+1, s.Size.Times, 100*lost, s.worst.Round(time.Millisecond))
			if err := p.primary.Restart(ctx); err != nil { // empty
				return err
			}
			p.primary, p.replica = p.replica, p.primary
			if err := p.back.Lead(p.primary.Addr()); err != nil {
				return err
			}
			if err := p.follow(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// lose cuts replication, waits until a good tenth of the writes since the replica followed
// is not replicated, kills the primary and promotes the replica. It returns the share of
// the writes that the replica does not have.
func (p *pair) lose(ctx context.Context, s *Stand) (share float64, err error) {
	first, err := offset(ctx, p.primary, "master_repl_offset")
	if err != nil {
		return 0, err
	}
	if err := s.someTime(ctx, 500*time.Millisecond, 2*time.Second); err != nil {
		return 0, err
	}
	p.back.Cut()
	want := 0.1 + 0.2*s.Random.Float64()
	err = eventually(ctx, 30*time.Second, "enough is written", func(ctx context.Context) error {
		written, err := offset(ctx, p.primary, "master_repl_offset")
		if err != nil {
			return err
		}
		copied, err := offset(ctx, p.replica, "slave_repl_offset")
		if err != nil {
			return err
		}
		if share = float64(written-copied) / float64(max(1, written-first)); share < want {
			return errorf("%.3f of the writes are unreplicated", share)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	p.primary.Kill()
	if _, err := on(ctx, p.replica, "REPLICAOF", "NO", "ONE"); err != nil {
		return 0, err
	}
	return share, p.front.Lead(p.replica.Addr())
}
