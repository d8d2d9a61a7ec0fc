package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/internal/rpc/rpctest"
)

// TestWarmRunsRecentRequests: a version is tried on requests that were answered lately, of which a few are kept, and fails its trial when
// it cannot be run on them; that of a request that it cannot read is no failure.
func TestWarmRunsRecentRequests(t *testing.T) {
	s := newShop(t)
	hop, err := s.service.Models.Find("ranker", 1)
	if err != nil {
		t.Fatal(err)
	}
	hop.Release()
	s.ship(1, shopSpec, 4)
	s.put("1/model.onnx", onnxtest.MLP([]int{4, 8, 1}, 9))
	s.look()
	s.look() // which closes the model of before, nobody having it
	if err := s.service.Warm(t.Context(), hop); err != nil {
		t.Errorf("without recent requests: %v", err)
	}
	clock := time.Now()
	s.service.Now = func() time.Time { return clock }
	for i := range 20 {
		s.ask(ask(int64(i)))
		s.ask(ask(100)) // within the same second
		clock = clock.Add(keepEvery)
	}
	kept, _, _ := s.service.Recent.of(t.Context(), "ranker")
	if len(kept) != keptRequests {
		t.Errorf("%d requests are kept, want %d", len(kept), keptRequests)
	}
	for _, req := range kept {
		if user := req.GetEntities()["user_id"].GetInt64()[0]; user < 20-keptRequests || user > 19 {
			t.Errorf("a request of user %d is kept", user)
		}
	}
	if err := s.service.Warm(t.Context(), hop); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a model that cannot be run: %v", err)
	}
	now, err := s.service.Models.Find("ranker", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Release()
	if err := s.service.Warm(t.Context(), now); err != nil {
		t.Error(err)
	}
	for _, ship := range []func(int){s.shipNaN, s.shipInfinite} {
		ship(2)
		s.look()
		if p, err := s.service.Models.Find("ranker", 2); err == nil || !strings.Contains(err.Error(), "all scores are NaN or infinite") {
			t.Errorf("a model that knows no numbers: %v", err)
			p.Release()
		}
	}
	for _, req := range kept {
		delete(req.Entities, "user_id")
	}
	if err := s.service.Warm(t.Context(), now); err != nil {
		t.Errorf("requests that lack what the version reads: %v", err)
	}
}

// shipNaN ships a model that knows no numbers.
func (s *shop) shipNaN(version int) { s.t.Helper(); s.shipBad(version, "zero") }

// shipInfinite ships a model to which all are infinitely good.
func (s *shop) shipInfinite(version int) { s.t.Helper(); s.shipBad(version, "one") }

// shipBad ships a model that divides something by zero.
func (s *shop) shipBad(version int, something string) {
	s.t.Helper()
	s.ship(version, shopSpec, 4)
	s.put(fmt.Sprintf("%d/model.onnx", version), onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "features", Type: onnxtest.Float32, Shape: []int64{-1, 4}}},
		Outputs: []onnxtest.Value{{Name: "scores", Type: onnxtest.Float32, Shape: []int64{-1, 1}}},
		Nodes: []onnxtest.Node{
			{Op: "ReduceMin", Inputs: []string{"features"}, Outputs: []string{"least"}, Attributes: [][]byte{onnxtest.Ints("axes", 1)}},
			{Op: "Sub", Inputs: []string{"least", "least"}, Outputs: []string{"zero"}},
			{Op: "Exp", Inputs: []string{"zero"}, Outputs: []string{"one"}},
			{Op: "Div", Inputs: []string{something, "zero"}, Outputs: []string{"scores"}},
		},
	}.Bytes())
}

func newRecent(t *testing.T) *Recent {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = client.Close() })
	return NewRecent(client, "shop", slog.New(slog.DiscardHandler))
}

// restart has the service forget what it kept, but for what Redis has.
func (s *shop) restart() {
	r := s.service.Recent
	r.save(s.t.Context(), s.service.served)
	s.service.Recent = NewRecent(r.client, "shop", r.log)
}

// TestARefusedVersionIsRefusedAfterARestart: it is tried again on requests that were answered before, and the versions that were in service stay,
// whatever becomes of those requests now.
func TestARefusedVersionIsRefusedAfterARestart(t *testing.T) {
	s := newShop(t)
	good, err := s.service.Models.Find("ranker", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer good.Release()
	s.ask(ask(1))
	s.shipNaN(2)
	s.look() // which refuses it
	s.restart()
	warm := s.service.Models.Warm
	s.service.Models.Warm = nil
	s.put("2/model.yaml", []byte(shopSpec+"\n")) // so that it is looked at again
	s.look()
	bad, err := s.service.Models.Find("ranker", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Release()
	if err := warm(bad); err == nil || !strings.Contains(err.Error(), "all scores") {
		t.Errorf("a version that was refused: %v", err)
	}
	if err := warm(good); err != nil {
		t.Errorf("the version that was in service: %v", err)
	}
	there, redis := s.service.Store, miniredis.RunT(t)
	s.service.Store = rpctest.OpenOnline(t, "redis://"+redis.Addr())
	redis.Close()
	if err := warm(bad); !errors.Is(err, inference.ErrUntried) {
		t.Errorf("a version for which no rows can be read: %v", err)
	}
	if err := warm(good); err != nil {
		t.Errorf("the version that was in service, without rows: %v", err)
	}
	s.service.Store = there
	s.ask(ask(2)) // by version 2
	s.restart()
	if err := warm(bad); err != nil {
		t.Errorf("a bad version that was in service: %v", err)
	}
	s.service.Recent = newRecent(t)
	if err := warm(bad); err != nil {
		t.Errorf("where nothing was ever asked: %v", err)
	}
}

// TestATrialWithoutRowsIsNone: where Redis hangs for as long as a trial may take, or does not tell what was asked, a version waits until it does.
func TestATrialWithoutRowsIsNone(t *testing.T) {
	s, held := hold(t)
	s.ask(ask(1))
	s.shipNaN(2)
	held.Store(true)
	s.look()
	problem := func() error {
		for _, v := range s.service.Models.Models() {
			if v.Number == 2 {
				return v.Problem
			}
		}
		return nil
	}
	if err := problem(); !errors.Is(err, inference.ErrUntried) {
		t.Errorf("while Redis hangs: %v", err)
	}
	held.Store(false)
	recent, there := s.service.Recent, miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: there.Addr(), MaxRetries: -1})
	defer func() { _ = client.Close() }()
	s.service.Recent = NewRecent(client, "shop", recent.log)
	there.Close()
	s.look()
	if err := problem(); !errors.Is(err, inference.ErrUntried) || !strings.Contains(err.Error(), "shop:recent:ranker") {
		t.Errorf("while what was asked is not known: %v", err)
	}
	s.service.Recent = recent
	s.look()
	if err := problem(); err == nil || !strings.Contains(err.Error(), "all scores are NaN") {
		t.Errorf("with Redis: %v", err)
	}
}

// TestRecentRequestsInRedis: what is there is bounded and read with care, and where Redis is away nobody waits for it twice.
func TestRecentRequestsInRedis(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	defer func() { _ = client.Close() }()
	of := func() []*rankRequest {
		kept, _, err := NewRecent(client, "shop", slog.New(slog.DiscardHandler)).of(t.Context(), "ranker")
		if err != nil {
			t.Errorf("another try would not help: %v", err)
		}
		return kept
	}
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "[{", "a list": `["1"]`, "no message": `{"requests":["/////w=="]}`, "none": "{}", "null": "null", "a null": `{"requests":null}`,
	} {
		if err := server.Set("shop:recent:ranker", text); err != nil {
			t.Fatal(err)
		}
		if kept := of(); len(kept) != 0 {
			t.Errorf("%s: %d requests", name, len(kept))
		}
	}
	if err := server.Set("shop:recent:ranker", `{"requests":[`+strings.Repeat(`"",`, 100)+`""]}`); err != nil {
		t.Fatal(err)
	}
	if kept := of(); len(kept) != keptRequests {
		t.Errorf("%d requests of 101, want %d", len(kept), keptRequests)
	}
	server.Del("shop:recent:ranker")
	server.HSet("shop:recent:ranker", "another", "type")
	if kept := of(); len(kept) != 0 {
		t.Errorf("%d requests in a hash", len(kept))
	}
	r := NewRecent(client, "shop", slog.New(slog.DiscardHandler))
	server.SetError("ERR away")
	if kept, _, err := r.of(t.Context(), "ranker"); err == nil || len(kept) != 0 {
		t.Errorf("%d requests of a server that is away: %v", len(kept), err)
	}
	commands := server.CommandCount()
	if _, _, err := r.of(t.Context(), "other"); err == nil || server.CommandCount() != commands {
		t.Errorf("it was asked again at once: %v", err)
	}
}

// TestRecentRequestsAreSaved while the service runs and when it ends, and only what is new.
func TestRecentRequestsAreSaved(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer func() { _ = client.Close() }()
	s := newShop(t)
	s.service.Recent = NewRecent(client, "shop", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.service.KeepRecent(ctx) }()
	s.ask(ask(1))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left := server.TTL("shop:recent:ranker"); left != keptFor {
		t.Errorf("it is kept for %s, want %s", left, keptFor)
	}
	server.FlushAll()
	s.service.Recent.save(t.Context(), s.service.served)
	if server.Exists("shop:recent:ranker") {
		t.Error("what was saved was saved again")
	}
}
