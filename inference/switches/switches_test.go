package switches

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/inference/traffic"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func open(t *testing.T) *Store {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := migrations.Up(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	return New(pool, testenv.Namespace(t))
}

func (s *Store) must(t *testing.T, c Change) *Switch {
	t.Helper()
	c.Model, c.Who = "ranker", "ada"
	made, err := s.Switch(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func canary(percent float64) traffic.Traffic {
	return traffic.Traffic{Split: &traffic.Split{Canary: &traffic.Share{Version: "4", Percent: percent}}}
}

// taken makes a switch that an instance takes.
func (s *Store) taken(t *testing.T, c Change) *Switch {
	t.Helper()
	made := s.must(t, c)
	if err := s.record(t.Context(), "a", traffic.Outcome{Switch: made.ID}); err != nil {
		t.Fatal(err)
	}
	return made
}

// TestSwitchAndRollback walks through states and back.
func TestSwitchAndRollback(t *testing.T) {
	s := open(t)
	if _, err := s.Switch(t.Context(), Change{Model: "ranker", Action: Rollback, Who: "ada"}); !errors.Is(err, ErrNothing) {
		t.Errorf("a rollback of nothing: %v", err)
	}
	first := s.taken(t, Change{Action: Set, Traffic: canary(5), Reason: "new loss"})
	second := s.taken(t, Change{Action: Set, Traffic: traffic.Traffic{Default: "4", Aliases: map[string]int64{"stable": 3}}})
	if want := (traffic.Traffic{Default: "4", Aliases: map[string]int64{"stable": 3}, Split: canary(5).Split}); !second.Traffic.Equal(want) || !second.Was.Equal(canary(5)) {
		t.Errorf("%+v", second)
	}
	if back := s.taken(t, Change{Action: Rollback}); !back.Traffic.Equal(first.Traffic) || !back.Was.Equal(second.Traffic) || *back.BackTo != first.ID {
		t.Errorf("%+v", back)
	}
	if again := s.taken(t, Change{Action: Rollback}); !again.Traffic.Equal(second.Traffic) || *again.BackTo != second.ID {
		t.Errorf("the rollback of a rollback: %+v", again)
	}
	if to := s.taken(t, Change{Action: Rollback, To: first.ID}); !to.Traffic.Equal(first.Traffic) || *to.BackTo != first.ID {
		t.Errorf("%+v", to)
	}
	if file := s.taken(t, Change{Action: FromFile}); !file.Traffic.Empty() || file.BackTo != nil {
		t.Errorf("%+v", file)
	}
	_, err := s.Switch(t.Context(), Change{Model: "ranker", Action: Set, Traffic: canary(500), Who: "ada"})
	if err == nil || !strings.Contains(err.Error(), "500 is no share") {
		t.Errorf("a share of 500 percent: %v", err)
	}
	if _, err := s.Switch(t.Context(), Change{Model: "other", Action: Rollback, To: first.ID, Who: "ada"}); !errors.Is(err, ErrNothing) {
		t.Errorf("a rollback to another model's state: %v", err)
	}
	history, err := s.History(t.Context(), "ranker", 10)
	if err != nil || len(history) != 6 {
		t.Fatalf("%d switches, %v", len(history), err)
	}
	if oldest := history[5]; oldest.Reason != "new loss" || oldest.Who != "ada" || oldest.Action != Set || !oldest.Was.Empty() || !oldest.Traffic.Equal(first.Traffic) || time.Since(oldest.At) > time.Minute {
		t.Errorf("%+v", oldest)
	}
	if other, err := s.History(t.Context(), "other", 10); err != nil || len(other) != 0 {
		t.Errorf("%v, %v", other, err)
	}
	if back := history[3]; back.Action != Rollback || *back.BackTo != first.ID {
		t.Errorf("%+v", back)
	}
	live, err := s.current(t.Context(), s.pool)
	if diff := cmp.Diff(map[string]traffic.Live{"ranker": {Switch: history[0].ID}}, live); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, sql := range []string{"UPDATE onehop.model_switches SET who = 'eve'", "DELETE FROM onehop.model_switch_outcomes"} {
		if _, err := s.pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "is a record") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// models take what they are told, but for default version 9.
type models struct {
	mu     sync.Mutex
	live   map[string]traffic.Live
	steers chan struct{}
}

func (m *models) Steer(live map[string]traffic.Live) {
	m.mu.Lock()
	m.live = live
	m.mu.Unlock()
	m.steers <- struct{}{}
}

// last is the number of the switch that was taken last.
func (m *models) last() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live["ranker"].Switch
}

func (m *models) Outcomes() map[string]traffic.Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	outcomes := map[string]traffic.Outcome{}
	for model, live := range m.live {
		o := traffic.Outcome{Switch: live.Switch}
		if live.Traffic.Default == "9" {
			o.Problem = "there is no version 9"
		}
		outcomes[model] = o
	}
	return outcomes
}

// TestFollowersHearAtOnceAndRecord: a switch reaches a running service by its announcement, and the record has what became of it,
// once for each instance.
func TestFollowersHearAtOnceAndRecord(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var all []*models
	for _, instance := range []string{"a", "b"} {
		m := &models{steers: make(chan struct{}, 100)}
		f, err := Follow(ctx, s, m, instance, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		<-m.steers
		all = append(all, m)
		running.Go(func() { _ = f.Run(ctx) }) // it returns nil
	}
	heard := func(switched *Switch, within time.Duration) {
		t.Helper()
		for _, m := range all {
			for m.last() != switched.ID {
				select {
				case <-m.steers:
				case <-time.After(within):
					t.Fatalf("switch %d was not heard of within %s", switched.ID, within)
				}
			}
		}
	}
	heard(s.must(t, Change{Action: Set, Traffic: canary(5)}), 10*time.Second) // then they listen
	began := time.Now()
	bad := s.must(t, Change{Action: Set, Traffic: traffic.Traffic{Default: "9"}})
	heard(bad, 1500*time.Millisecond) // less than the two seconds after which they look by themselves
	t.Logf("two followers took a switch %s after it was asked for", time.Since(began))
	for deadline := time.Now().Add(10 * time.Second); ; {
		history, err := s.History(t.Context(), "ranker", 1)
		if err != nil {
			t.Fatal(err)
		}
		var by []string
		for _, o := range history[0].Outcomes {
			by = append(by, o.Instance+": "+o.Problem)
		}
		slices.Sort(by)
		if cmp.Diff([]string{"a: there is no version 9", "b: there is no version 9"}, by) == "" {
			break
		}
		if time.Now().After(deadline) || len(by) > 2 {
			t.Fatalf("outcomes %v", by)
		}
	}
}

// TestSuperseded: a switch of which no instance said anything before the next one of its model names that one; another model's
// switch supersedes nothing.
func TestSuperseded(t *testing.T) {
	s := open(t)
	taken := s.must(t, Change{Action: Set, Traffic: canary(1)})
	if err := s.record(t.Context(), "a", traffic.Outcome{Switch: taken.ID}); err != nil {
		t.Fatal(err)
	}
	passed := s.must(t, Change{Action: Set, Traffic: canary(2)})
	if _, err := s.Switch(t.Context(), Change{Model: "other", Action: Set, Traffic: canary(5), Who: "ada"}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), passed.ID); err != nil || got.SupersededBy != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	next := s.must(t, Change{Action: Set, Traffic: canary(3)})
	s.must(t, Change{Action: Set, Traffic: canary(4)})
	history, err := s.History(t.Context(), "ranker", 10)
	if err != nil || len(history) != 4 {
		t.Fatalf("%d switches, %v", len(history), err)
	}
	var by []int64
	for _, h := range history {
		by = append(by, h.SupersededBy)
	}
	if diff := cmp.Diff([]int64{0, history[0].ID, next.ID, 0}, by); diff != "" {
		t.Error(diff)
	}
}

// TestRecordKeepsChanges: the same outcome again is not recorded again, another is.
func TestRecordKeepsChanges(t *testing.T) {
	s := open(t)
	made := s.must(t, Change{Action: Set, Traffic: canary(5)})
	for _, problem := range []string{"bad", "bad", "", "", "bad"} {
		if err := s.record(t.Context(), "a", traffic.Outcome{Switch: made.ID, Problem: problem}); err != nil {
			t.Fatal(err)
		}
	}
	history, err := s.History(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, o := range history[0].Outcomes {
		problems = append(problems, o.Problem)
	}
	if diff := cmp.Diff([]string{"bad", "", "bad"}, problems); diff != "" {
		t.Error(diff)
	}
}

// TestStartWhilePostgresIsAway: what was switched is as it was when Postgres was last seen; without a snapshot the start
// fails, and a damaged one is told.
func TestStartWhilePostgresIsAway(t *testing.T) {
	s := open(t)
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	made := s.must(t, Change{Action: Set, Traffic: canary(5)})
	m := &models{steers: make(chan struct{}, 9)}
	if _, err := Follow(t.Context(), s, m, "a", snapshot, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), "postgres://127.0.0.1:1/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	away := New(pool, s.namespace)
	again := &models{steers: make(chan struct{}, 9)}
	if _, err := Follow(t.Context(), away, again, "a", snapshot, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]traffic.Live{"ranker": {Switch: made.ID, Traffic: canary(5), Before: &traffic.Traffic{}}}, again.live); diff != "" {
		t.Error(diff)
	}
	if _, err := Follow(t.Context(), away, again, "a", "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a service started without knowing what was switched")
	}
	if _, err := Follow(t.Context(), away, again, "a", snapshot+"lost", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "snapshotlost: no such file") {
		t.Errorf("a service started without knowing what was switched: %v", err)
	}
	if err := os.WriteFile(snapshot, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Follow(t.Context(), away, again, "a", snapshot, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged snapshot: %v", err)
	}
}
