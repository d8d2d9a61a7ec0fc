package stream

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Progress is how far a consumer is with a partition that it owns.
type Progress struct {
	Topic, Source string
	Partition     int32
	// Open says that it is read; not while it waits to be opened, or opened again.
	Open bool
	// Behind is the number of records that are not processed, −1 while that is not known: the
	// partition was never open.
	Behind int64
	// Since is the timestamp of the oldest record that is not processed, as far as it is
	// known: up to then nothing waits. It is zero when nothing waits at all. While Kafka does
	// not answer it is when it last said that nothing waits.
	Since time.Time
}

// progresses follows the partitions of a consumer. The consumer writes it; whoever scrapes
// reads it, at any time, while a worker hangs too.
type progresses struct {
	mu    sync.Mutex
	parts map[topicPartition]*progress
	fresh time.Duration // how long an answer of Kafka's about the end of a log is good
}

type topicPartition struct {
	topic  string
	number int32
}

type progress struct {
	Progress
	next, end int64 // −1 while not known
	asked     time.Time
}

func (s *progresses) init(heartbeat time.Duration) {
	s.parts, s.fresh = map[topicPartition]*progress{}, 3*heartbeat
}

// update changes what is known of a partition, where it is owned.
func (s *progresses) update(topic string, number int32, change func(p *progress)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.parts[topicPartition{topic, number}]; p != nil {
		change(p)
	}
}

func (s *progresses) assigned(t *Topic, number int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[topicPartition{t.Name, number}] = &progress{
		Progress: Progress{Topic: t.Name, Source: t.Source, Partition: number, Since: time.Now()}, next: -1, end: -1,
	}
}

func (s *progresses) revoked(topic string, numbers []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range numbers {
		delete(s.parts, topicPartition{topic, n})
	}
}

// opened notes from where a partition is read, and where its log ended before that.
func (s *progresses) opened(p *partition, end int64, asked time.Time) {
	s.update(p.topic.Name, p.number, func(known *progress) {
		known.Open, known.next = true, p.next
		known.ends(end, asked)
	})
}

func (s *progresses) closed(p *partition) {
	s.update(p.topic.Name, p.number, func(known *progress) { known.Open = false })
}

// begins notes the timestamp of the next record to process.
func (s *progresses) begins(p *partition, at time.Time) {
	s.update(p.topic.Name, p.number, func(known *progress) { known.Since = at })
}

// processed notes that everything up to p.next is, the last record with a timestamp, and
// where the log ended when that was fetched.
func (s *progresses) processed(p *partition, last time.Time, end int64) {
	s.update(p.topic.Name, p.number, func(known *progress) {
		known.next, known.Since, known.end = p.next, last, max(known.end, end)
	})
}

// ends notes where the log ended at a moment.
func (p *progress) ends(end int64, asked time.Time) {
	p.end, p.asked = max(p.end, end), asked
	if p.next >= 0 && p.end <= p.next {
		p.Since = asked
	}
}

// list is what is known now, in order of topic and partition.
func (s *progresses) list(now time.Time) []Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Progress, 0, len(s.parts))
	for _, p := range s.parts {
		out := p.Progress
		out.Behind = -1
		if p.next >= 0 {
			out.Behind = max(0, p.end-p.next)
		}
		if out.Behind == 0 && now.Sub(p.asked) <= s.fresh {
			out.Since = time.Time{}
		}
		list = append(list, out)
	}
	slices.SortFunc(list, func(a, b Progress) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return list
}

// Progress says how far the consumer is with each partition that it owns. It is safe for
// concurrent use, and answers while Kafka or a worker does not.
func (c *Consumer) Progress() []Progress { return c.progress.list(time.Now()) }

// watchEnds asks Kafka every heartbeat where the logs end, until the context ends. The poll
// loop cannot: it stands while a worker does, which is when it matters how much waits.
func (c *Consumer) watchEnds(ctx context.Context) {
	admin := kadm.NewClient(c.client)
	for wait(ctx, c.config.Heartbeat) {
		c.askEnds(ctx, admin)
	}
}

func (c *Consumer) askEnds(ctx context.Context, admin *kadm.Client) {
	ctx, cancel := context.WithTimeout(ctx, max(c.config.Heartbeat, time.Second))
	defer cancel()
	topics := map[string]bool{}
	for _, p := range c.progress.list(time.Now()) {
		topics[p.Topic] = true
	}
	for topic := range topics {
		asked := time.Now()
		ends, err := admin.ListCommittedOffsets(ctx, topic)
		if err != nil {
			return // the gauges grow, which is what they are for
		}
		ends.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				c.progress.update(topic, o.Partition, func(p *progress) { p.ends(o.Offset, asked) })
			}
		})
	}
}
