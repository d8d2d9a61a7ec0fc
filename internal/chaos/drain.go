package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/onehop/onehop/featurestore/stream"
)

// position is how far the service is: the sums of all watermarks and of the offsets of
// history, and how many records are missing to the end of the log.
type position struct {
	online, history             int64
	onlineBehind, historyBehind int64
	live                        bool
	// next are the same by partition: of history, and summed over views and buckets.
	next, nextOnline map[int32]int64
}

// position looks at Redis and Postgres themselves.
func (s *Stand) position(ctx context.Context) (p position, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	topic, logs, err := stream.Logs(ctx, s.kafka, s.checker.Topic())
	if err != nil {
		return p, err
	}
	views, err := s.checker.views()
	if err != nil {
		return p, err
	}
	p.live, p.nextOnline = true, map[int32]int64{}
	for _, v := range views {
		marks, err := s.checker.watermarks(ctx, v)
		if err != nil {
			return p, err
		}
		for partition, o := range logs {
			for _, bucket := range marks {
				next := bucket[partitionID{topic, partition}]
				p.online += next
				p.nextOnline[partition] += next
				p.onlineBehind += o.End - next
			}
		}
		p.live = p.live && s.checker.live(ctx, v)
	}
	p.next, err = s.checker.historyOffsets(ctx, topic)
	for partition, o := range logs {
		p.history += p.next[partition]
		p.historyBehind += o.End - p.next[partition]
	}
	return p, err
}

// standing is a partition that is where it was, if there is one.
func (p *position) standing(was *position) (partition int32, stands bool) {
	for partition, next := range was.next {
		if p.next[partition] <= next || p.nextOnline[partition] <= was.nextOnline[partition] {
			return partition, true
		}
	}
	return 0, false
}

// Drain waits until every record of the topic is in every view and in history.
func (s *Stand) Drain(ctx context.Context) error {
	limit := 60*time.Second + time.Duration(s.Size.Events)*30*time.Microsecond
	return eventually(ctx, limit, "everything is drained", func(ctx context.Context) error {
		p, err := s.position(ctx)
		online := len(s.fault.Parts) == 0 || slices.Contains(s.fault.Parts, Rows)
		if err == nil && (p.historyBehind > 0 || online && (p.onlineBehind > 0 || !p.live)) {
			err = fmt.Errorf("it stands at %+v", p)
		}
		return err
	})
}

// maxResume is how soon the service must go on when what it needs is back.
const maxResume = 5 * time.Second

// Resumed measures from now how long it takes until both Redis and history have more of
// every partition than they have now, new events included.
func (s *Stand) Resumed(ctx context.Context) error {
	start := time.Now()
	var first position
	err := eventually(ctx, time.Minute, "the position is known", func(ctx context.Context) (err error) {
		first, err = s.position(ctx)
		return err
	})
	if err == nil {
		err = s.Feed.Send(ctx, 1000)
	}
	if err != nil {
		return err
	}
	err = eventually(ctx, time.Minute, "the service goes on", func(ctx context.Context) error {
		p, err := s.position(ctx)
		if err != nil {
			return err
		}
		if partition, stands := p.standing(&first); stands {
			return fmt.Errorf("partition %d stands at %+v", partition, p)
		}
		return nil
	})
	took := time.Since(start)
	s.worst = max(s.worst, took)
	if err == nil && took > maxResume {
		err = fmt.Errorf("it took %s to go on, more than %s", took.Round(time.Millisecond), maxResume)
	}
	return err
}

// live waits until all rows may be served, and returns how long it took.
func (s *Stand) live(ctx context.Context, within time.Duration) (time.Duration, error) {
	start := time.Now()
	err := eventually(ctx, within, "all rows are back", func(ctx context.Context) error {
		p, err := s.position(ctx)
		if err == nil && !p.live {
			err = fmt.Errorf("it stands at %+v", p)
		}
		return err
	})
	return time.Since(start), err
}
