package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// partition is a partition that is assigned to this member.
type partition struct {
	topic   *Topic
	number  int32
	decoder *Decoder
	worker  Worker
	id      featurestore.TopicID
	next    int64 // offset after the last record processed
	isOpen  bool
	pause   time.Duration // before it is opened again
	retryAt time.Time
}

// partitions is the set of assigned partitions. Its lock guards the map and the first
// fatal error; a partition is touched by one goroutine at a time: by the group's while
// it is being assigned, by the poll loop after that.
type partitions struct {
	mu       sync.Mutex
	assigned map[string]map[int32]*partition
	err      error
}

const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

func (s *partitions) init() { s.assigned = map[string]map[int32]*partition{} }

func (s *partitions) get(topic string, number int32) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assigned[topic][number]
}

func (s *partitions) add(p *partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assigned[p.topic.Name] == nil {
		s.assigned[p.topic.Name] = map[int32]*partition{}
	}
	s.assigned[p.topic.Name][p.number] = p
}

func (s *partitions) remove(topic string, numbers []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range numbers {
		delete(s.assigned[topic], n)
	}
}

func (s *partitions) list(keep func(*partition) bool) []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*partition
	for _, numbers := range s.assigned {
		for _, p := range numbers {
			if keep(p) {
				list = append(list, p)
			}
		}
	}
	slices.SortFunc(list, func(a, b *partition) int { return int(a.number - b.number) })
	return list
}

func (s *partitions) open() []*partition {
	return s.list(func(p *partition) bool { return p.isOpen })
}

// offsets are the next offsets of the open partitions.
func (s *partitions) offsets() map[string]map[int32]kgo.EpochOffset {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for _, p := range s.open() {
		if offsets[p.topic.Name] == nil {
			offsets[p.topic.Name] = map[int32]kgo.EpochOffset{}
		}
		offsets[p.topic.Name][p.number] = kgo.EpochOffset{Epoch: -1, Offset: p.next}
	}
	return offsets
}

// suspend closes a partition and returns the pause until it is opened again, which
// doubles from failure to failure.
func (s *partitions) suspend(p *partition) time.Duration {
	pause := p.pause
	p.isOpen = false
	p.retryAt = time.Now().Add(pause)
	p.pause = min(max(2*pause, firstPause), maxPause)
	return pause
}

func (s *partitions) nextRetry() (at time.Time, some bool) {
	for _, p := range s.list(func(p *partition) bool { return !p.isOpen }) {
		if !some || p.retryAt.Before(at) {
			at, some = p.retryAt, true
		}
	}
	return at, some
}

func (s *partitions) fatal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *partitions) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
}

// assigned opens partitions when the group assigns them, side by side, and tells the client
// from where to read. It tries until the group takes them away again.
func (c *Consumer) assigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	<-c.made
	start := time.Now()
	for topic, numbers := range offsets {
		for number := range numbers {
			c.progress.assigned(c.topics[topic], number)
		}
	}
	var opened []*partition
	group, opening := errgroup.WithContext(ctx)
	group.SetLimit(maxOpening)
	for topic, numbers := range offsets {
		for number := range numbers {
			t := c.topics[topic]
			p := &partition{topic: t, number: number, decoder: NewDecoder(t.Versions, c.config.Schemas)}
			opened = append(opened, p)
			group.Go(func() error {
				err := c.openAtLast(opening, p)
				if err == nil && c.config.Assigned != nil {
					c.config.Assigned(time.Since(start))
				}
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, p := range opened {
		offsets[p.topic.Name][p.number] = kgo.NewOffset().At(p.next)
		c.parts.add(p)
	}
	return offsets, nil
}

// maxOpening bounds the partitions that are opened side by side.
const maxOpening = 16

// openAtLast opens a partition, again and again if it must.
func (c *Consumer) openAtLast(ctx context.Context, p *partition) error {
	for {
		err := c.open(ctx, p)
		if err == nil {
			return nil
		}
		if errors.Is(err, ingest.ErrGone) {
			c.parts.fail(err)
			return err
		}
		c.log.Warn("a partition cannot be opened yet", "topic", p.topic.Name, "partition", p.number, "error", err)
		c.parts.suspend(p)
		if !wait(ctx, p.pause) {
			return ctx.Err()
		}
	}
}

func (c *Consumer) revoked(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	for topic, numbers := range lost {
		c.parts.remove(topic, numbers)
		c.progress.revoked(topic, numbers)
	}
}

// open asks the worker where to read from.
func (c *Consumer) open(ctx context.Context, p *partition) error {
	asked := time.Now()
	id, logs, err := c.logs(ctx, p.topic.Name)
	if err != nil {
		return err
	}
	if _, ok := logs[p.number]; !ok {
		return fmt.Errorf("topic %q has no partition %d", p.topic.Name, p.number)
	}
	if p.worker == nil || p.id != id {
		p.id, p.worker = id, p.topic.NewWorker(ingest.PartitionID{Topic: id, Partition: p.number})
	}
	if p.next, err = p.worker.Open(ctx, logs); err != nil {
		err = c.sure(ctx, p, err)
		return fmt.Errorf("topic %q, partition %d: %w", p.topic.Name, p.number, err)
	}
	p.isOpen = true
	c.progress.opened(p, logs[p.number].End, asked)
	return nil
}

// errOvertaken means that a partition is to be opened again, with its log as it is now.
var errOvertaken = errors.New("another owner is further than the log was when we asked")

// sure looks at the logs again where a worker is ahead of them: somebody who was stopped
// between the two questions must not take its successor's work for a loss of records.
func (c *Consumer) sure(ctx context.Context, p *partition, err error) error {
	var ahead *ingest.AheadError
	if !errors.As(err, &ahead) {
		return err
	}
	id, logs, again := c.logs(ctx, p.topic.Name)
	switch {
	case again != nil:
		return again
	case id != p.id || !ahead.Real(logs):
		return errOvertaken
	}
	return err
}

// reopen opens suspended partitions whose pause is over and makes the client read from
// where they say.
func (c *Consumer) reopen(ctx context.Context) error {
	due := c.parts.list(func(p *partition) bool { return !p.isOpen && !time.Now().Before(p.retryAt) })
	for _, p := range due {
		if err := c.open(ctx, p); err != nil {
			if err := c.failed(ctx, p, err); err != nil {
				return err
			}
			continue
		}
		c.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{
			p.topic.Name: {p.number: {Epoch: -1, Offset: p.next}},
		})
		c.client.ResumeFetchPartitions(map[string][]int32{p.topic.Name: {p.number}})
	}
	return nil
}

// wait waits and says whether the context still lives.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
