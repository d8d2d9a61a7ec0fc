package rpc

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/inference/switches"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// follow has the shop follow switches in real Postgres.
func (s *shop) follow(t *testing.T) (*switches.Store, *switches.Follower) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := migrations.Up(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	store := switches.New(pool, testenv.Namespace(t))
	follower, err := switches.Follow(t.Context(), store, s.service.Models, "test", "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.service.Switches = Switches{Store: store, Follower: follower}
	return store, follower
}

// TestManySwitchesAtOnce: of each the record says that it was taken, or which one came before it was.
func TestManySwitchesAtOnce(t *testing.T) {
	s := newShop(t)
	store, _ := s.follow(t)
	const many = 20
	var all errgroup.Group
	for i := range many {
		all.Go(func() error {
			_, err := s.client.SwitchModel(t.Context(), &onehopv1.SwitchModelRequest{
				Model: "ranker", Action: onehopv1.SwitchAction_SWITCH_ACTION_SET, Traffic: &onehopv1.Traffic{Shadow: &onehopv1.Share{Version: "1", Percent: float64(i)}}, Who: "ada",
			})
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	history, err := store.History(t.Context(), "ranker", 2*many)
	if err != nil || len(history) != many {
		t.Fatalf("%d switches, %v", len(history), err)
	}
	taken := 0
	for i, made := range history {
		switch {
		case len(made.Outcomes) > 0 && made.SupersededBy == 0:
			taken++
		case i == 0 || len(made.Outcomes) > 0 || made.SupersededBy != history[i-1].ID:
			t.Errorf("switch %d of %d: %+v", many-i, many, made)
		}
	}
	t.Logf("%d of %d were taken before the next", taken, many)
}

// TestSwitchModel switches by RPC, with real Postgres: taken when it answers, refused with the reason, rolled back at once, given back to
// the file, and recorded.
func TestSwitchModel(t *testing.T) {
	s := newShop(t)
	s.ship(2, userless, 3)
	s.put("serving.yaml", []byte("default: 1"))
	s.look()
	store, follower := s.follow(t)
	change := func(action onehopv1.SwitchAction, traffic *onehopv1.Traffic) (*onehopv1.SwitchModelResponse, error) {
		return s.client.SwitchModel(t.Context(), &onehopv1.SwitchModelRequest{Model: "ranker", Action: action, Traffic: traffic, Who: "ada", Reason: "try"})
	}
	const set, rollback, fromFile = onehopv1.SwitchAction_SWITCH_ACTION_SET, onehopv1.SwitchAction_SWITCH_ACTION_ROLLBACK, onehopv1.SwitchAction_SWITCH_ACTION_FROM_FILE
	if _, err := change(rollback, nil); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a rollback of nothing: %v", err)
	}
	if got := s.ask(ask(1)).GetModelVersion(); got != 1 {
		t.Fatalf("version %d", got)
	}
	for says, traffic := range map[string]*onehopv1.Traffic{
		`model "ranker" has no version 7`:  {DefaultVersion: "7"},
		"101 is no share":                  {Shadow: &onehopv1.Share{Version: "2", Percent: 101}},
		"alias next":                       {Aliases: map[string]int64{"next": 7}},
		`there is no alias "next" to take`: {Aliases: map[string]int64{"next": 0}},
		"say what to switch":               {},
		"invalid_argument: traffic: want a canary or an A/B test, not both": {Split: &onehopv1.Split{Canary: &onehopv1.Share{Version: "2", Percent: 1}, Ab: &onehopv1.ABTest{By: "user"}}},
	} {
		if _, err := change(set, traffic); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v, want %s", traffic, err, says)
		}
	}
	made, err := change(set, &onehopv1.Traffic{Split: &onehopv1.Split{Canary: &onehopv1.Share{Version: "2", Percent: 100}}})
	if err != nil || made.GetRoute().GetSwitchId() != made.GetSwitchId() || made.GetRoute().GetTraffic().GetDefaultVersion() != "1" {
		t.Fatalf("%v, %v", made, err)
	}
	if made.BackTo != nil {
		t.Errorf("a switch that is no rollback went back to %d", made.GetBackTo())
	}
	if res := s.ask(ask(1)); res.GetModelVersion() != 2 || res.GetVariant() != "canary" {
		t.Errorf("version %d, %s", res.GetModelVersion(), res.GetVariant())
	}
	if back, err := change(rollback, nil); err != nil || back.BackTo == nil || back.GetBackTo() != 0 {
		t.Fatalf("a rollback to before any switch: %v, %v", back, err)
	}
	if got := s.ask(ask(1)).GetModelVersion(); got != 1 {
		t.Errorf("after the rollback version %d answers", got)
	}
	back, err := s.client.SwitchModel(t.Context(), &onehopv1.SwitchModelRequest{Model: "ranker", Action: rollback, SwitchId: made.GetSwitchId(), Who: "ada"})
	if err != nil || back.GetBackTo() != made.GetSwitchId() {
		t.Fatalf("a rollback to switch %d: %v, %v", made.GetSwitchId(), back, err)
	}
	if _, err := change(rollback, nil); err != nil { // which takes it away again
		t.Fatal(err)
	}
	if _, err := change(set, &onehopv1.Traffic{DefaultVersion: "2"}); err != nil {
		t.Fatal(err)
	}
	// The version goes away: what is switched cannot be followed, and the record says so.
	if err := os.RemoveAll(filepath.Join(s.dir, "ranker", "2")); err != nil {
		t.Fatal(err)
	}
	s.look()
	if err := follower.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := change(fromFile, nil); err != nil {
		t.Fatal(err)
	}
	if got := s.ask(ask(1)).GetModelVersion(); got != 1 {
		t.Errorf("by the file version %d answers", got)
	}
	s.put("serving.yaml", []byte("default: 1\naliases: {next: 2}"))
	s.look()
	list, err := s.client.ListModels(t.Context(), &onehopv1.ListModelsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r := list.GetRoutes()[0]; !r.GetRestInForce() || !strings.HasPrefix(r.GetProblem(), "alias next: ") {
		t.Errorf("with an alias of nothing: %v", r)
	}
	refused := &onehopv1.SwitchModelRequest{Model: "ranker", Action: rollback, SwitchId: made.GetSwitchId() + 4, Who: "ada"} // to version 2, which has gone
	if _, err := s.client.SwitchModel(t.Context(), refused); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "has no version 2") {
		t.Errorf("a rollback to what cannot be followed: %v", err)
	}
	refused.SwitchId = 1 << 40
	if _, err := s.client.SwitchModel(t.Context(), refused); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "no such state") {
		t.Errorf("a rollback to nothing: %v", err)
	}
	if _, err := change(fromFile, &onehopv1.Traffic{DefaultVersion: "1"}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("from-file with traffic: %v", err)
	}
	history, err := store.History(t.Context(), "ranker", 10)
	if err != nil || len(history) != 6 {
		t.Fatalf("%d switches, %v", len(history), err)
	}
	gone := history[1].Outcomes
	if len(gone) != 2 || gone[0].Problem != "" || !strings.Contains(gone[1].Problem, "has no version 2") || gone[0].Instance != "test" {
		t.Errorf("%+v", gone)
	}
	if first := history[5]; first.Who != "ada" || first.Reason != "try" || len(first.Outcomes) != 1 || first.Outcomes[0].Problem != "" {
		t.Errorf("%+v", first)
	}
}
