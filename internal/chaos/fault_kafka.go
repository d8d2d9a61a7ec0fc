package chaos

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"github.com/twmb/franz-go/pkg/kadm"
)

// half sends half of the events in steps and starts ingest.
func (s *Stand) half(ctx context.Context, instance string) (*Process, error) {
	p, err := s.IngestReady(ctx, instance)
	if err != nil {
		return p, err
	}
	return p, s.Feed.Send(ctx, s.Size.Events/2)
}

// followed sends the next step to a topic that has changed, and notes how long it took until
// all of it was processed.
func (s *Stand) followed(ctx context.Context) error {
	s.Feed.forget()
	if err := s.Feed.Send(ctx, s.Size.Events/2/s.Size.Times); err != nil {
		return err
	}
	start := time.Now()
	if err := s.Drain(ctx); err != nil {
		return err
	}
	s.noteWorst("drained_seconds", time.Since(start).Seconds())
	return nil
}

// topicAgain deletes the topic and makes it again, under ingest.
func topicAgain(ctx context.Context, s *Stand) error {
	if _, err := s.half(ctx, "one"); err != nil {
		return err
	}
	for i := range s.Size.Times {
		if err := s.Drain(ctx); err != nil {
			return err
		}
		log, err := ReadLog(ctx, s.checker.Brokers, s.checker.Topic())
		if err != nil {
			return err
		}
		s.before = append(s.before, log)
		if _, err := s.admin.DeleteTopic(ctx, s.checker.Topic()); err != nil {
			return errorf("deleting the topic: %w", err)
		}
		if err := s.someTime(ctx, 0, 2*time.Second); err != nil {
			return err
		}
		if err := eventually(ctx, 20*time.Second, "the topic can be made again", s.makeTopic); err != nil {
			return err
		}
		if err := s.followed(ctx); err != nil {
			return err
		}
		s.Say("topic %d of %d", i+1, s.Size.Times)
	}
	return nil
}

// partitionsAdded adds a partition at a time, under ingest.
func partitionsAdded(ctx context.Context, s *Stand) error {
	if _, err := s.half(ctx, "one"); err != nil {
		return err
	}
	for i := range s.Size.Times {
		added, err := s.admin.CreatePartitions(ctx, 1, s.checker.Topic())
		if err == nil {
			err = added.Error()
		}
		if err != nil {
			return errorf("adding a partition: %w", err)
		}
		if err := s.followed(ctx); err != nil {
			return err
		}
		s.Say("partition %d of %d", i+1, s.Size.Times)
	}
	return nil
}

// groupsDeleted deletes both consumer groups, and with them all committed offsets.
func groupsDeleted(ctx context.Context, s *Stand) error {
	p, err := s.half(ctx, "")
	if err != nil {
		return err
	}
	groups := []string{"onehop." + s.checker.Namespace + ".online", "onehop." + s.checker.Namespace + ".history"}
	for i := range s.Size.Times {
		p.Leave()
		if err := p.Left(ctx); err != nil {
			return err
		}
		s.retire(p)
		if err := s.Feed.Send(ctx, s.Size.Events/2/s.Size.Times); err != nil {
			return err
		}
		err := eventually(ctx, 20*time.Second, "the groups are deleted", func(ctx context.Context) error {
			deleted, err := s.admin.DeleteGroups(ctx, groups...)
			if err == nil {
				err = deleted.Error()
			}
			return err
		})
		if err != nil {
			return err
		}
		if p, err = s.IngestReady(ctx, ""); err != nil {
			return err
		}
		s.Say("groups %d of %d", i+1, s.Size.Times)
	}
	return nil
}

// retention lets Kafka forget all events and Redis all rows: they cannot be made again, and
// that must be said and not served.
func retention(ctx context.Context, s *Stand) error {
	if err := s.forgotten(ctx); err != nil {
		return err
	}
	return s.Feed.Send(ctx, s.Size.Events/2)
}

// forgotten lets Kafka and Redis forget what was processed, and waits until that is told.
func (s *Stand) forgotten(ctx context.Context) error {
	p, err := s.half(ctx, "one")
	if err != nil {
		return err
	}
	if err := s.Drain(ctx); err != nil {
		return err
	}
	log, err := ReadLog(ctx, s.checker.Brokers, s.checker.Topic())
	if err != nil {
		return err
	}
	s.before = append(s.before, log)
	if err := s.forgetEvents(ctx); err != nil {
		return err
	}
	if err := s.checker.Redis.FlushAll(ctx).Err(); err != nil {
		return errorf("emptying Redis: %w", err)
	}
	return s.goneAlarm(ctx, p)
}

func (s *Stand) forgetEvents(ctx context.Context) error {
	ends, err := s.admin.ListEndOffsets(ctx, s.checker.Topic())
	if err != nil {
		return err
	}
	var deleted kadm.DeleteRecordsResponses
	if deleted, err = s.admin.DeleteRecords(ctx, ends.Offsets()); err == nil {
		err = deleted.Error()
	}
	return err
}

// goneAlarm waits until ingest ends by itself, starts it again as an orchestrator would,
// and looks for the alarm and for the answer to a reader.
func (s *Stand) goneAlarm(ctx context.Context, p *Process) error {
	err := eventually(ctx, 20*time.Second, "ingest notices that events are gone", func(context.Context) error {
		if p.running() {
			return errorf("it runs")
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.retire(p)
	if p, err = s.IngestReady(ctx, "one"); err != nil {
		return err
	}
	gone, err := p.Metric(ctx, "onehop_ingest_view_gone", "")
	if views := len(s.checker.newest().Views); err != nil || int(gone) != views {
		return errorf("onehop_ingest_view_gone adds up to %.0f, not %d (%v)", gone, views, err)
	}
	s.Feed.dirt.Users = 1000
	r, err := newReader(ctx, s)
	if err != nil {
		return err
	}
	r.transport.CloseIdleConnections()
	if r.unavailable != 1 {
		return errorf("rows that cannot be made were served; %s was to be the answer", connect.CodeUnavailable)
	}
	return nil
}
