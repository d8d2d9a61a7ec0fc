package batching

import (
	"testing"
	"time"

	"github.com/onehop/onehop/internal/fit"
)

// TestDoubtIsWhatWaitsHaveBeen: waits that take longer than foreseen, or vary, are foreseen to take longer.
func TestDoubtIsWhatWaitsHaveBeen(t *testing.T) {
	const foreseen = 10 * time.Millisecond
	d := firstDoubt
	expect := func(what string, least, most time.Duration) {
		t.Helper()
		if got := d.of(foreseen); got < least || got > most {
			t.Errorf("%s: %s where %s is foreseen, want %s to %s", what, got, foreseen, least, most)
		}
	}
	observe := func(waits ...time.Duration) {
		for i := range 20 * fit.Memory {
			d.observe(foreseen, waits[i%len(waits)])
		}
	}
	expect("nothing was seen", 12*time.Millisecond, 13*time.Millisecond)
	observe(20 * time.Millisecond)
	expect("twice as long", 19900*time.Microsecond, 20100*time.Microsecond)
	observe(10*time.Millisecond, 14*time.Millisecond)
	expect("as long, or 4 ms longer", 19*time.Millisecond, 21*time.Millisecond)
	observe(time.Millisecond)
	expect("shorter", foreseen, foreseen)
	observe(time.Hour)
	expect("a process that slept", mostDoubt*foreseen*99/100, mostDoubt*foreseen*101/100)
}
