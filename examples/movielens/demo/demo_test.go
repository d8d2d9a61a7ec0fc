package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/internal/generate"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var small = options{JSON: true, Example: "..", Generated: 3000, Calls: 20}

func quiet(t *testing.T) *progress {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	return newProgress(null)
}

// TestDemoPrintsOneJSONObject runs all of it on a few generated ratings.
func TestDemoPrintsOneJSONObject(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), small, &out, quiet(t)); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(&out)
	decoder.DisallowUnknownFields()
	var r report
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if decoder.More() {
		t.Error("there is more than one object")
	}
	if !r.Data.Generated || r.Ingest.Ratings != small.Generated || r.Ingest.Online.EventsPerSecond <= 0 || r.Ingest.History.EventsPerSecond <= 0 {
		t.Errorf("data %+v, ingest %+v", r.Data, r.Ingest)
	}
	if len(r.Users) != shownUsers || len(r.Users[0].Movies) != topK || len(r.Why.Features) < 24 {
		t.Errorf("%d users, %d features", len(r.Users), len(r.Why.Features))
	}
	if r.Latency.P50 <= 0 || r.Latency.P99 < r.Latency.P50 || r.Freshness.P50 <= 0 || r.Freshness.Probes != probes {
		t.Errorf("latency %+v, freshness %+v", r.Latency, r.Freshness)
	}
	if r.Addresses != nil || r.Curl != "" {
		t.Error("it gives addresses where nothing listens any more")
	}
	var text bytes.Buffer
	if err := r.printText(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), r.Users[0].Movies[0].Title) {
		t.Errorf("the text lacks the first recommendation:\n%s", text.String())
	}
}

// TestScoresFollowEvents: what a user does changes what the user is recommended, and
// nothing else does.
func TestScoresFollowEvents(t *testing.T) {
	s, err := startStack(t.Context(), small, t.TempDir(), quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	data := events.Generated(small.Generated)
	data.ShiftTo(time.Now())
	if err := s.feed(data, &report{}, quiet(t)); err != nil {
		t.Fatal(err)
	}
	user := recentUsers(data)[0]
	c := call{user: user, candidates: candidates(data, user)}
	now := time.Now()
	before, err := s.scores(t.Context(), c, now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.scores(t.Context(), c, now)
	if err != nil {
		t.Fatal(err)
	}
	if n := (&report{}).changes(before, again).Changed; n != 0 {
		t.Errorf("%d scores changed without an event", n)
	}

	// The user rates movies that are no candidates, all as badly as can be.
	others := ratedBy(t, s, user)
	var pushed []string
	for range 40 {
		pushed = append(pushed, string(generate.AppendRating(nil, user, 1_000_000, 1, time.Now().UnixMicro())))
	}
	if _, err := s.features.PushEvents(t.Context(), &onehopv1.PushEventsRequest{Source: events.Ratings, Events: pushed}); err != nil {
		t.Fatal(err)
	}
	err = every(t.Context(), 10*time.Millisecond, func() (bool, error) { return ratedBy(t, s, user) == others+len(pushed), nil })
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.scores(t.Context(), c, now)
	if err != nil {
		t.Fatal(err)
	}
	change := (&report{}).changes(before, after)
	if change.Changed < len(before)/2 || change.MeanShift > -0.02 {
		t.Errorf("forty ratings of one star changed %d of %d scores, by %+.4f on average; want lower ones", change.Changed, change.Of, change.MeanShift)
	}
}

func ratedBy(t *testing.T, s *stack, user int64) int {
	t.Helper()
	n, err := s.sum(t.Context(), "user_ratings.count_lifetime", "user_id", []int64{user})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCurlLineWorks runs the printed line as it would be pasted.
func TestCurlLineWorks(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if _, missing := exec.LookPath("curl"); err != nil || missing != nil {
		t.Skip("there is no curl here")
	}
	s, err := startStack(t.Context(), small, t.TempDir(), quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	line := curl(s.addresses.Infer, call{user: 1, candidates: []int64{1, 2, 3, 4}}, time.Now())
	var out []byte
	err = every(t.Context(), 50*time.Millisecond, func() (bool, error) { // until the empty views are live
		out, err = exec.CommandContext(t.Context(), shell, "-c", line).CombinedOutput()
		return !strings.Contains(string(out), `"unavailable"`), err
	})
	if err := errors.Join(err, s.stop()); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Scores []float64 }
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Scores) != 3 {
		t.Errorf("%s\nanswers %s", line, out)
	}
}
