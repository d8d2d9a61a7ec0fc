package e2econtainers

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/onehoptest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const definitions = `
namespace: containers
entities:
  - name: user
    keys: [{name: user_id, type: int64}]
  - name: movie
    keys: [{name: movie_id, type: int64}]
sources:
  - name: ratings
    format: json
    event_time: {field: event_time, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: movie_id, type: int64, required: true}
      - {name: rating, type: int64}
views:
  - name: user_ratings
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h, lifetime]}
      - {name: sum, aggregate: sum, field: rating, windows: [lifetime]}
  - name: movie_ratings
    entity: movie
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h]}
services:
  - name: ranker
    features: [user_ratings.count_lifetime, movie_ratings.count_1h]
models:
  - name: ranker
    service: ranker
    candidates: movie
    request: [{name: hour, type: float64}]
`

const modelSpec = `
model: ranker
inputs:
  - tensor: features
    columns:
      - {from: user_ratings.count_lifetime, default: 0}
      - {from: movie_ratings.count_1h, default: 0}
      - request.hour
output: scores
`

const (
	users  = 20
	movies = 10
	// unseen is a movie without events.
	unseen = 999
)

var widths = []int{3, 8, 1}

// ratings are events from one number to another. Every event weighs differently, so that a lost one and a doubled
// one cannot make up for each other.
func ratings(from, to int) (events []any) {
	for i := from; i < to; i++ {
		events = append(events, fmt.Sprintf(`{"user_id":%d,"movie_id":%d,"rating":%d,"event_time":%d}`,
			i%users, i%movies, i, time.Now().UnixMicro()))
	}
	return events
}

// TestServicesInContainers runs everything in containers and goes once around: events,
// features, scores, and a killed ingest.
func TestServicesInContainers(t *testing.T) {
	s := newStack(t)
	version := filepath.Join(s.models, "ranker", "1")
	if err := os.MkdirAll(version, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"model.onnx": onnxtest.MLP(widths, 1), "model.yaml": []byte(modelSpec)} {
		if err := os.WriteFile(filepath.Join(version, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ingest := s.start(t, definitions)

	const first = 1000
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", ratings(0, first)...)...)
	s.expectTotals(t, first)
	s.expectScores(t, first)

	// Kill ingest while events arrive, three times.
	produced := first
	for range 3 {
		s.onehop.Produce(t, "ratings", ratings(produced, produced+20_000)...)
		kill(t, ingest)
		s.onehop.Produce(t, "ratings", ratings(produced+20_000, produced+21_000)...)
		produced += 21_000
		begin := time.Now()
		if err := ingest.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.expectTotals(t, produced)
		t.Logf("%d events are folded %s after ingest was started again", produced, time.Since(begin).Round(time.Millisecond))
	}
	s.expectHistory(t, produced)
}

// expectTotals waits until exactly the first n events are in the features.
func (s *stack) expectTotals(t *testing.T, n int) {
	t.Helper()
	ids := make([]int64, users)
	for i := range ids {
		ids[i] = int64(i)
	}
	eventually(t, time.Minute, "every event is folded", func(ctx context.Context) error {
		res, err := s.onehop.Features().GetOnlineFeatures(ctx, &onehopv1.GetOnlineFeaturesRequest{
			Features: []string{"user_ratings.count_lifetime", "user_ratings.sum_lifetime"},
			Entities: map[string]*onehopv1.Values{"user_id": {Int64: ids}},
		})
		if err != nil {
			return err
		}
		var count, sum int64
		for i := range ids {
			count += res.GetColumns()[0].GetValues().GetInt64()[i]
			sum += res.GetColumns()[1].GetValues().GetInt64()[i]
		}
		return exactly(t, n, count, sum)
	})
}

// expectHistory waits until history holds exactly the first n events.
func (s *stack) expectHistory(t *testing.T, n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	table := pgx.Identifier{"onehop_" + s.namespace, "ratings"}.Sanitize()
	eventually(t, time.Minute, "history is complete", func(ctx context.Context) error {
		var count, sum int64
		if err := conn.QueryRow(ctx, "SELECT count(*), coalesce(sum(f_rating), 0) FROM "+table).Scan(&count, &sum); err != nil {
			return err
		}
		return exactly(t, n, count, sum)
	})
}

// exactly compares with the first n events; more than those will not get better.
func exactly(t *testing.T, n int, count, sum int64) error {
	t.Helper()
	if count > int64(n) {
		t.Fatalf("%d events are counted where %d were produced", count, n)
	}
	if want := int64(n) * int64(n-1) / 2; count != int64(n) || sum != want {
		return fmt.Errorf("%d of %d events, sum %d of %d", count, n, sum, want)
	}
	return nil
}

// expectScores asks for the best movies and compares with the network computed by hand.
func (s *stack) expectScores(t *testing.T, n int) {
	t.Helper()
	res, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), &onehopv1.GetFeaturesAndPredictRequest{
		Model:      "ranker",
		Entities:   map[string]*onehopv1.Values{"user_id": {Int64: []int64{7}}},
		Candidates: map[string]*onehopv1.Values{"movie_id": {Int64: []int64{3, unseen}}},
		Request:    map[string]*onehopv1.Values{"hour": {Double: []float64{12}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[uint32][]float32{0: {float32(n / users), float32(n / movies), 12}, 1: {float32(n / users), 0, 12}}
	if len(res.GetScores()) != len(rows) {
		t.Fatalf("%d scores, want %d", len(res.GetScores()), len(rows))
	}
	for i, at := range res.GetIndexes() {
		want := onnxtest.EvaluateMLP(widths, 1, rows[at])[0]
		if got := float64(res.GetScores()[i]); math.Abs(want-got) > 1e-4*max(1, math.Abs(want)) {
			t.Errorf("candidate %d scores %v, want %v", at, got, want)
		}
	}
}

// TestStartWithoutServers is the two-line start of our users' tests: nothing is named,
// so the servers come in containers.
func TestStartWithoutServers(t *testing.T) {
	o := onehoptest.Start(t, onehoptest.Options{Log: t.Output()})
	o.ApplyText(t, definitions)
	o.WaitVisible(t, o.Produce(t, "ratings", ratings(0, 40)...)...)
	res, err := o.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{"user_ratings.count_1h"}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{7}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := res.GetColumns()[0].GetValues().GetInt64()[0]; got != 2 {
		t.Errorf("%d events, want 2", got)
	}
}
