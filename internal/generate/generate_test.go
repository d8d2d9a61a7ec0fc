package generate_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/internal/generate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func take(options generate.Options, count int) []generate.Event {
	gen := generate.New(options)
	events := make([]generate.Event, count)
	for i := range events {
		events[i] = gen.Next()
	}
	return events
}

func TestTheSeedDecidesAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := generate.Options{
			Seed: rapid.Uint64().Draw(t, "seed"), Users: rapid.IntRange(1, 50).Draw(t, "users"),
			Items: rapid.IntRange(1, 50).Draw(t, "items"), Late: 0.2, Duplicate: 0.1, Malformed: 0.1,
		}
		if diff := cmp.Diff(take(options, 200), take(options, 200)); diff != "" {
			t.Fatal(diff)
		}
		other := options
		other.Seed++
		if cmp.Equal(take(options, 200), take(other, 200)) {
			t.Fatal("two seeds gave the same stream")
		}
	})
}

func TestEventsKeepTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := generate.Options{
			Seed: rapid.Uint64().Draw(t, "seed"), Users: rapid.IntRange(1, 30).Draw(t, "users"),
			Items: rapid.IntRange(1, 30).Draw(t, "items"), Rate: rapid.SampledFrom([]float64{0.1, 10, 1e7}).Draw(t, "rate"),
			Late: 0.3, MaxLateness: time.Second,
		}
		last := int64(0)
		for i, event := range take(options, 300) {
			late := event.Arrival - event.Time
			switch {
			case event.Arrival <= last:
				t.Fatalf("event %d arrives at %d, after one of %d", i, event.Arrival, last)
			case late < 1 || late > 1e6+1 || !event.Late && late != 1:
				t.Fatalf("event %d (late: %v) arrives %d µs after it happened", i, event.Late, late)
			case !event.Late && event.Time <= last:
				t.Fatalf("event %d is on time, but happened at %d, when one arrived at %d", i, event.Time, last)
			case event.UserID < 1 || event.UserID > int64(options.Users), event.ItemID < 1 || event.ItemID > int64(options.Items):
				t.Fatalf("event %d: user %d, movie %d", i, event.UserID, event.ItemID)
			case event.Rating < 1 || event.Rating > 5 || event.Rating*2 != math.Trunc(event.Rating*2):
				t.Fatalf("event %d: rating %v", i, event.Rating)
			}
			last = event.Arrival
		}
	})
}

func TestFractions(t *testing.T) {
	const count = 20_000
	var late, duplicate, malformed float64
	for _, event := range take(generate.Options{Late: 0.1, Duplicate: 0.05, Malformed: 0.02}, count) {
		switch {
		case event.Duplicate:
			duplicate++
		case event.Late:
			late++
		}
		if event.Malformed && !event.Duplicate {
			malformed++
		}
	}
	for name, test := range map[string]struct{ got, want float64 }{
		"late": {late, 0.1 * 0.95}, "duplicate": {duplicate, 0.05}, "malformed": {malformed, 0.02 * 0.95},
	} {
		// Four standard deviations of a binomial count.
		if tolerance := 4 * math.Sqrt(test.want*(1-test.want)/count); math.Abs(test.got/count-test.want) > tolerance {
			t.Errorf("%s: fraction %v, want %v ± %v", name, test.got/count, test.want, tolerance)
		}
	}
}

func TestDuplicatesRepeatRecentEvents(t *testing.T) {
	events := take(generate.Options{Duplicate: 0.3, Late: 0.1}, 2000)
	for i, event := range events {
		if !event.Duplicate {
			continue
		}
		same := func(other generate.Event) bool {
			return !other.Duplicate && string(other.AppendJSON(nil)) == string(event.AppendJSON(nil))
		}
		if !slices.ContainsFunc(events[max(0, i-200):i], same) {
			t.Fatalf("event %d repeats nothing: %+v", i, event)
		}
	}
}

// The r-th most popular movie of a Zipf stream with exponent s has a share that falls as r^-s: a line of slope -s in logarithms.
func TestPopularityIsZipf(t *testing.T) {
	const exponent = 1.3
	counts := map[int64]float64{}
	for _, event := range take(generate.Options{Zipf: exponent}, 200_000) {
		counts[event.ItemID]++
	}
	var ranked []float64
	for _, count := range counts {
		ranked = append(ranked, count)
	}
	slices.Sort(ranked)
	slices.Reverse(ranked)
	var n, sumX, sumY, sumXX, sumXY float64
	for rank := 1; rank <= 100; rank++ { // beyond, counts are too small
		x, y := math.Log(float64(rank)), math.Log(ranked[rank-1])
		n, sumX, sumY, sumXX, sumXY = n+1, sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	if slope := (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX); math.Abs(slope+exponent) > 0.08 {
		t.Errorf("slope %v, want %v", slope, -exponent)
	}
	if ids := len(counts); ids < 1000 || counts[1] == ranked[0] && counts[2] == ranked[1] {
		t.Errorf("%d movies rated; the most popular must not have the first ids", ids)
	}
}

func TestRatingsFollowTastes(t *testing.T) {
	gen := generate.New(generate.Options{})
	var n, sumX, sumY, sumXX, sumYY, sumXY float64
	for range 20_000 {
		event := gen.Next()
		x, y := gen.Affinity(event.UserID, event.ItemID), event.Rating
		n, sumX, sumY, sumXX, sumYY, sumXY = n+1, sumX+x, sumY+y, sumXX+x*x, sumYY+y*y, sumXY+x*y
	}
	correlation := (n*sumXY - sumX*sumY) / math.Sqrt((n*sumXX-sumX*sumX)*(n*sumYY-sumY*sumY))
	if correlation < 0.8 {
		t.Errorf("ratings and tastes correlate by %v only", correlation)
	}
}

func TestDaysHaveARhythm(t *testing.T) {
	hours := [24]int{}
	for _, event := range take(generate.Options{Rate: 0.5}, 2*43_200) { // two days
		hours[time.UnixMicro(event.Arrival).UTC().Hour()]++
	}
	if day, night := hours[14], hours[2]; day < 3*night || day > 5*night {
		t.Errorf("%d events at 14:00 and %d at 02:00, want four times as many", day, night)
	}
}

func TestSessionsHaveTheirLength(t *testing.T) {
	const count = 50_000
	events := take(generate.Options{Users: 100_000, SessionLength: 8, Rate: 100}, count)
	users := map[int64]int{}
	for _, event := range events {
		users[event.UserID]++
	}
	if mean := count / float64(len(users)); mean < 7 {
		t.Errorf("%v ratings per user, want sessions of 8 or more", mean)
	}
}

func TestClockReplacesTheStreamsTime(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	gen := generate.New(generate.Options{Clock: func() time.Time { return now }})
	first, second := gen.Next(), gen.Next()
	if first.Arrival != now.UnixMicro() || second.Arrival <= first.Arrival || second.Arrival > first.Arrival+10 {
		t.Errorf("arrivals at %d and %d with the clock at %d", first.Arrival, second.Arrival, now.UnixMicro())
	}
}

func TestAppendJSON(t *testing.T) {
	event := generate.Event{UserID: 7, ItemID: 9, Rating: 4.5, Time: 1767225600000001}
	want := `x{"user_id":7,"movie_id":9,"rating":4.5,"event_time":1767225600000001}`
	if got := string(event.AppendJSON([]byte("x"))); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	buffer := make([]byte, 0, 128)
	if allocations := testing.AllocsPerRun(10, func() { buffer = event.AppendJSON(buffer[:0]) }); allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func TestMalformedEventsAreUnacceptable(t *testing.T) {
	type record struct {
		UserID    *int64   `json:"user_id"`
		MovieID   *int64   `json:"movie_id"`
		Rating    *float64 `json:"rating"`
		EventTime *int64   `json:"event_time"`
	}
	acceptable := func(event generate.Event) bool {
		var r record
		err := json.Unmarshal(event.AppendJSON(nil), &r)
		return err == nil && r.UserID != nil && r.MovieID != nil && r.Rating != nil && r.EventTime != nil && *r.EventTime < event.Arrival
	}
	kinds := map[int64]bool{}
	for i, event := range take(generate.Options{Malformed: 0.5}, 400) {
		if acceptable(event) == event.Malformed {
			t.Fatalf("event %d: malformed is %v, but it reads %s", i, event.Malformed, event.AppendJSON(nil))
		}
		if event.Malformed {
			kinds[event.Time%4] = true
		}
	}
	if len(kinds) != 4 {
		t.Errorf("%d kinds of malformed events, want 4", len(kinds))
	}
}

func TestItems(t *testing.T) {
	items := generate.New(generate.Options{Items: 500}).Items()
	if len(items) != 500 {
		t.Fatalf("%d movies", len(items))
	}
	for i, item := range items {
		if item.ID != int64(i)+1 || item.Title == "" || item.Year < 1960 || len(item.Genres) < 1 || len(item.Genres) > 2 {
			t.Fatalf("movie %d: %+v", i, item)
		}
	}
	var back map[string]any
	if err := json.Unmarshal(items[0].AppendJSON(nil, 5), &back); err != nil || back["movie_id"] != 1.0 || back["event_time"] != 5.0 {
		t.Errorf("record %v, %v", back, err)
	}
	if back["main_genre"] != items[0].Genres[0] || back["genre_count"] != float64(len(items[0].Genres)) {
		t.Errorf("record %v of %+v", back, items[0])
	}
	if got, want := string(generate.Item{ID: 7, Title: "T"}.AppendJSON(nil, 1)),
		`{"movie_id":7,"title":"T","year":0,"genres":null,"genre_count":0,"event_time":1}`; got != want {
		t.Errorf("a movie without genres: %s, want %s", got, want)
	}
}

func TestUsers(t *testing.T) {
	users := generate.New(generate.Options{Seed: 3, Users: 200}).Users()
	if len(users) != 200 {
		t.Fatalf("%d users", len(users))
	}
	if diff := cmp.Diff(users, generate.New(generate.Options{Seed: 3, Users: 200}).Users()); diff != "" {
		t.Errorf("the seed does not decide the users: %s", diff)
	}
	for i, user := range users {
		if user.ID != int64(i)+1 || user.Age < 14 || user.Age > 73 || user.Gender == "" || user.Occupation == "" {
			t.Fatalf("user %d: %+v", i, user)
		}
	}
	got := string(generate.User{ID: 4, Age: 30, Gender: "F", Occupation: "writer"}.AppendJSON([]byte("x"), 9))
	if want := `x{"user_id":4,"age":30,"gender":"F","occupation":"writer","event_time":9}`; got != want {
		t.Errorf("record %s, want %s", got, want)
	}
}

func BenchmarkNext(b *testing.B) {
	gen := generate.New(generate.Options{Late: 0.05, Duplicate: 0.01})
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = gen.Next().AppendJSON(buffer[:0])
	}
}
