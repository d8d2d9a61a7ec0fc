package onehoptest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/onehoptest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const definitions = `
namespace: example
entities:
  - name: user
    keys: [{name: user_id, type: int64}]
sources:
  - name: ratings
    format: json
    event_time: {field: event_time, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: rating, type: float64}
views:
  - name: user_ratings
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h]}
      - {name: last_rating, aggregate: latest, field: rating}
`

func start(t *testing.T) *onehoptest.Onehop {
	t.Helper()
	o := onehoptest.Start(t, onehoptest.Options{
		Kafka: testenv.Kafka(t), Redis: testenv.Redis(t), Postgres: testenv.Postgres(t), Log: t.Output(),
	})
	o.ApplyText(t, definitions)
	return o
}

func TestEventsBecomeFeatures(t *testing.T) {
	o := start(t)
	var events []any
	now := time.Now().UnixMicro()
	for i := range 100 {
		events = append(events, map[string]any{"user_id": i % 10, "rating": i % 5, "event_time": now + int64(i)})
	}
	o.WaitVisible(t, o.Produce(t, "ratings", events...)...)
	res, err := o.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{"user_ratings.*"}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{7, 99}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(res.GetColumns()[0].GetValues().GetInt64(), res.GetColumns()[0].GetStatuses(),
		res.GetColumns()[1].GetValues().GetDouble(), res.GetColumns()[1].GetStatuses())
	const want = "[10 0] [STATUS_PRESENT STATUS_NOT_FOUND] [2 0] [STATUS_PRESENT STATUS_NOT_FOUND]"
	if got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

// TestTwoAtOnce runs two instances on the same servers: namespaces keep them apart.
func TestTwoAtOnce(t *testing.T) {
	a, b := start(t), start(t)
	event := fmt.Sprintf(`{"user_id": 1, "rating": 4, "event_time": %d}`, time.Now().UnixMicro())
	a.WaitVisible(t, a.Produce(t, "ratings", event)...)
	b.WaitVisible(t, b.Produce(t, "ratings", event, event)...)
	for o, want := range map[*onehoptest.Onehop]int64{a: 1, b: 2} {
		res, err := o.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
			Features: []string{"user_ratings.count_1h"}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{1}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.GetColumns()[0].GetValues().GetInt64()[0]; got != want {
			t.Errorf("namespace %s: %d events, want %d", o.Namespace, got, want)
		}
	}
}
