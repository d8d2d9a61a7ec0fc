package definition

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurations(t *testing.T) {
	day := 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"30d": 30 * day, "12h": 12 * time.Hour, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond,
		"1d12h": 36 * time.Hour, "0s": 0, "1m1ms": time.Minute + time.Millisecond, "50000d": 50000 * day,
	} {
		if got, ok := parseDuration(s); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "d", "5", "5x", "1.5h", "-1h", "1h 2m", "1h2", "999999999d", "9999999999s", "50000d50000d", "1D", "١h"} {
		if got, ok := parseDuration(s); ok {
			t.Errorf("%q: %v, want none", s, got)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"user_ratings", "movie_ratings", "rating_count", "v", "user_id"}
	for name, want := range map[string]string{
		"user_rating": "user_ratings", "user_ratnigs": "user_ratings", "rating_cuont": "rating_count", "userid": "user_id",
		"w": "v", "something_else": "", "": "v",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	long := make([]byte, 1<<20)
	if got := nearest(string(long), known); got != "" {
		t.Errorf("a long name is near %q", got)
	}
}

// TestDistanceIsADistance: symmetric, zero for equals alone, and no greater than the
// longer word.
func TestDistanceIsADistance(t *testing.T) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("the distance of %q and %q is %d, back it is %d", a, b, d, distance(b, a))
		}
	})
	if d := distance("count", "cuont"); d != 1 {
		t.Errorf("a swap is %d changes, want 1", d)
	}
}
