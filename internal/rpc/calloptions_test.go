package rpc

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/online"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

func TestFailOnMissing(t *testing.T) {
	s := newShop(t)
	req := ask(3)
	req.Candidates["item_id"].Int64[4] = 999
	if res := s.ask(req); res.GetStatusCounts()["DEFAULTED"] != 2 {
		t.Errorf("statuses %v", res.GetStatusCounts())
	}
	req.FailOnMissing = true
	_, err := s.client.GetFeaturesAndPredict(t.Context(), req)
	if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), `candidate 5: feature "i.n_lifetime" is NOT_FOUND, and the request wants no default for it`) {
		t.Errorf("an item that nobody knows: %v", err)
	}
	req = ask(3)
	req.FailOnMissing, req.Request = true, nil
	if _, err := s.client.GetFeaturesAndPredict(t.Context(), req); err == nil || !strings.Contains(err.Error(), `field "hour" is missing, and the request wants no default`) {
		t.Errorf("a field that is not given: %v", err)
	}
}

// TestProvenance: the ten events of partition 0 are behind every row.
func TestProvenance(t *testing.T) {
	s := newShop(t)
	req := ask(3)
	if s.ask(req).GetProvenance() != nil {
		t.Error("nobody asked for provenance")
	}
	req.Provenance, req.ReturnFeatures = true, true
	res := s.ask(req)
	buckets := map[string]map[uint32]bool{"u": {}, "i": {}}
	for _, p := range res.GetProvenance() {
		if buckets[p.GetView()][p.GetBucket()] {
			t.Errorf("bucket %d of view %s is told twice", p.GetBucket(), p.GetView())
		}
		buckets[p.GetView()][p.GetBucket()] = true
		if w := p.GetWatermarks(); len(w) != 1 || w[0].GetNextOffset() != 10 || w[0].GetPartition() != 0 || len(w[0].GetTopicId()) != 32 {
			t.Errorf("watermarks %v", w)
		}
	}
	if len(buckets["u"]) != 1 || len(buckets["i"]) < 3 {
		t.Errorf("buckets %v, of one user and nine items", buckets)
	}
	if at := res.GetFeatures()[0].GetEventTimesUs(); at[0] == 0 {
		t.Error("a value without its event time")
	}
}

// stall is a connection to Redis that can be held.
type stall struct {
	net.Conn
	held *atomic.Bool
}

// Read implements net.Conn: while held, nothing arrives before the deadline.
func (s stall) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	for s.held.Load() && err == nil {
		if _, err := s.Conn.Read(make([]byte, 1)); err != nil {
			return 0, err
		}
	}
	return n, err
}

// hold makes a shop whose Redis can be held.
func hold(t *testing.T) (*shop, *atomic.Bool) {
	t.Helper()
	held := &atomic.Bool{}
	client := redis.NewClient(&redis.Options{
		Addr: miniredis.RunT(t).Addr(), ContextTimeoutEnabled: true, MaxRetries: -1,
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return stall{Conn: conn, held: held}, err
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	store, err := online.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return newShopOver(t, store, strings.ReplaceAll(shopDefinitions, "source: s,", "source: s, near_cache: 50ms,")), held
}

func TestReadingLeavesTheModelItsTime(t *testing.T) {
	s, held := hold(t)
	s.ask(ask(1))
	held.Store(true)
	req := ask(1)
	req.ReadTimeoutMs = 30
	start := time.Now()
	_, err := s.client.GetFeaturesAndPredict(t.Context(), req)
	if took := time.Since(start); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "within 30ms, the request's read_timeout_ms") || took > time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.client.GetFeaturesAndPredict(ctx, ask(1)); err == nil {
		t.Error("answered without Redis")
	}
	held.Store(false)
	s.ask(ask(1))
}

// TestOldCopiesWhileRedisIsAway: a caller who takes them is answered, and told.
func TestOldCopiesWhileRedisIsAway(t *testing.T) {
	s, held := hold(t)
	near := s.service.Store.StartNear(t.Context(), 1<<20, s.metrics)
	defer near.Close()
	whole := s.ask(ask(1))
	if res := s.ask(ask(1)); res.GetStalenessUs() == 0 || res.GetStalenessUs() > 50_000 {
		t.Errorf("copies are %d µs old", res.GetStalenessUs())
	}
	req := ask(1)
	req.NoCache = true
	if res := s.ask(req); res.GetStalenessUs() != 0 {
		t.Errorf("a caller who wants no copies got some, %d µs old", res.GetStalenessUs())
	}
	held.Store(true)
	req = ask(1)
	req.ReadTimeoutMs, req.MaxStalenessMs = 30, 60_000
	res := s.ask(req)
	for start := time.Now(); res.GetStatusCounts()["STALE"] == 0 && time.Since(start) < 10*time.Second; { // until the copies are older than the view allows
		res = s.ask(req)
	}
	if res.GetStalenessUs() < 50_000 || res.GetStatusCounts()["STALE"] == 0 || res.GetStatusCounts()["PRESENT"] != 0 || !slices.Equal(res.GetScores(), whole.GetScores()) {
		t.Errorf("copies %d µs old, statuses %v, scores %v, want %v", res.GetStalenessUs(), res.GetStatusCounts(), res.GetScores(), whole.GetScores())
	}
	req.ReadTimeoutMs = 0
	var err error
	for range 10 { // a deadline alone leaves time for that, but where the machine is busy
		var res *onehopv1.GetFeaturesAndPredictResponse
		within, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		res, err = s.client.GetFeaturesAndPredict(within, req)
		cancel()
		if err == nil {
			if !slices.Equal(res.GetScores(), whole.GetScores()) {
				t.Errorf("scores %v, want %v", res.GetScores(), whole.GetScores())
			}
			break
		}
	}
	if err != nil {
		t.Errorf("with a deadline alone: %v", err)
	}
	req.ReadTimeoutMs, req.MaxStalenessMs = 30, 0
	if _, err := s.client.GetFeaturesAndPredict(t.Context(), req); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a caller who takes no old copies: %v", err)
	}
	held.Store(false)
}

// TestWhatCannotBeInTimeIsRefused: the deadline is shorter than a run is known to take, so nothing is read.
func TestWhatCannotBeInTimeIsRefused(t *testing.T) {
	s := newShop(t)
	hop, err := s.service.Models.Find("ranker", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer hop.Release()
	if _, err := hop.Model.Admit(time.Now().Add(-time.Second), 9, 0); err != nil {
		t.Errorf("an idle model is tried: %v", err)
	}
	refused := toWire(featurestore.Errorf(featurestore.Exhausted, "no").After(250 * time.Millisecond))
	if len(refused.Details()) != 1 {
		t.Fatalf("details %v", refused.Details())
	}
	detail, err := refused.Details()[0].Value()
	if info, ok := detail.(*errdetails.RetryInfo); err != nil || !ok || info.GetRetryDelay().AsDuration() != 250*time.Millisecond {
		t.Errorf("detail %v, %v", detail, err)
	}
}

func TestQueuesAreMeasured(t *testing.T) {
	s := newShop(t)
	s.metrics.MustRegister(Queues{Models: s.service.Models})
	for range 3 {
		s.ask(ask(1))
	}
	want := `
# HELP onehop_model_rows_total Rows that were run; by runs, how many share one.
# TYPE onehop_model_rows_total counter
onehop_model_rows_total{model="ranker",version="1"} 27
`
	if err := testutil.GatherAndCompare(s.metrics, strings.NewReader(want), "onehop_model_rows_total"); err != nil {
		t.Error(err)
	}
}

func TestPriorities(t *testing.T) {
	if p := priorities; p[onehopv1.Priority_PRIORITY_HIGH] <= p[onehopv1.Priority_PRIORITY_UNSPECIFIED] || p[onehopv1.Priority_PRIORITY_UNSPECIFIED] <= p[onehopv1.Priority_PRIORITY_LOW] || p[onehopv1.Priority_PRIORITY_LOW] <= shadowPriority {
		t.Errorf("priorities %v, shadows %d", p, shadowPriority)
	}
	s := newShop(t)
	req := ask(1)
	req.Priority = onehopv1.Priority_PRIORITY_HIGH
	s.ask(req)
}
