package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// watch measures how long events that Kafka has wait for their effect, partition by
// partition: a partition that stands still makes them wait for as long as it stands. It is
// safe for concurrent use.
type watch struct {
	mu      sync.Mutex
	waiting map[int32][]acknowledged // oldest first
	longest map[int32]time.Duration
}

// acknowledged says when Kafka had the events before an offset.
type acknowledged struct {
	next int64
	at   time.Time
}

func newWatch() *watch {
	return &watch{waiting: map[int32][]acknowledged{}, longest: map[int32]time.Duration{}}
}

// sent takes in events that Kafka has by now.
func (w *watch) sent(records []*kgo.Record, now time.Time) {
	ends := map[int32]int64{}
	for _, r := range records {
		ends[r.Partition] = max(ends[r.Partition], r.Offset+1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for partition, end := range ends {
		w.waiting[partition] = append(w.waiting[partition], acknowledged{end, now})
	}
}

// reached takes in how far the partitions were at a time.
func (w *watch) reached(next map[int32]int64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for partition, list := range w.waiting {
		if len(list) > 0 {
			w.longest[partition] = max(w.longest[partition], at.Sub(list[0].at))
		}
		for len(list) > 0 && list[0].next <= next[partition] {
			list = list[1:]
		}
		w.waiting[partition] = list
	}
}

// oldest is how long the event that waits longest has waited.
func (w *watch) oldest(now time.Time) (oldest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, list := range w.waiting {
		if len(list) > 0 {
			oldest = max(oldest, now.Sub(list[0].at))
		}
	}
	return oldest
}

// take returns the longest wait of each partition since the last call.
func (w *watch) take() map[int32]time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := w.longest
	w.longest = map[int32]time.Duration{}
	return longest
}

// watchEvery is the pause between two looks.
const watchEvery = 50 * time.Millisecond

// watching looks again and again at how far the partitions are, until the context ends. A look that
// fails is none: what waits meanwhile is seen to have waited at the next one.
func (w *watch) watching(ctx context.Context, look func(context.Context) (map[int32]int64, error)) {
	for pause(ctx, watchEvery) == nil {
		at := time.Now() // what is found was so at least until now
		if next, err := look(ctx); err == nil {
			w.reached(next, at)
		}
	}
}
