package chaos

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestWatchSeesWaiting lets one partition stand and another go on.
func TestWatchSeesWaiting(t *testing.T) {
	w, start := newWatch(), time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for i := range 20 { // an event each 100 ms; partition 1 stands from the 5th to the 15th
		w.sent([]*kgo.Record{{Partition: 0, Offset: int64(i)}, {Partition: 1, Offset: int64(i)}}, at(100*i))
		next := map[int32]int64{0: int64(i + 1), 1: int64(i + 1)}
		if i >= 5 && i < 15 {
			next[1] = 5
		}
		w.reached(next, at(100*i+50))
	}
	if w.oldest(at(2000)) != 0 {
		t.Fatal("something waits that was reached")
	}
	longest := w.take()
	if longest[0] != 50*time.Millisecond || longest[1] != 1050*time.Millisecond {
		t.Fatalf("partition 0 waited for %s, 1 for %s; 50 ms and 1050 ms are right", longest[0], longest[1])
	}
	w.sent([]*kgo.Record{{Partition: 0, Offset: 20}}, at(2000))
	w.reached(nil, at(2700)) // it still waits
	if got := w.take()[0]; got != 700*time.Millisecond {
		t.Fatalf("what still waits has waited for %s", got)
	}
	if got := w.oldest(at(2800)); got != 800*time.Millisecond {
		t.Fatalf("the oldest has waited for %s", got)
	}
}
