package e2e

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	onlinestore "github.com/onehop/onehop/featurestore/online"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// TestAnswersWhileFilling takes views out of service and asks who accepts that: values are
// STALE, what has none is FILLING, and a model gets the same scores.
func TestAnswersWhileFilling(t *testing.T) {
	s := rankStack(t)
	now := time.Now()
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", visit(1, "de|x", "y", 4, now), visit(2, "de", "x|y", 1, now))...)
	client, err := onlinestore.Connect(t.Context(), s.redis)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	store, err := onlinestore.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	suspend := func() error { // ingest soon finds that nothing is missing
		return store.Suspend(t.Context(), onlinestore.NewView(s.namespace, &featurestore.View{Name: "place_ratings", Generation: 1}))
	}
	req := rankRequest() // of three places one has no row
	req.AllowStale, req.ReturnFeatures = true, true
	whole, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "scores while filling", func() error {
		if err := suspend(); err != nil {
			return err
		}
		res, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), req)
		if err != nil {
			return err
		}
		want := map[string]uint32{"STALE": 10, "FILLING": 4, "DEFAULTED": 4} // computed ones too
		if got := res.GetStatusCounts(); !maps.Equal(got, want) {
			return fmt.Errorf("statuses %v, want %v", got, want)
		}
		for i, at := range res.GetIndexes() {
			got := res.GetFeatures()[3].GetStatuses()[i]
			if got != onehopv1.Status_STATUS_STALE && (at != 2 || got != onehopv1.Status_STATUS_FILLING) {
				t.Errorf("the rating of candidate %d is %s", at, got)
			}
			if res.GetScores()[i] != whole.GetScores()[i] {
				t.Errorf("candidate %d scores %v, and %v before", at, res.GetScores()[i], whole.GetScores()[i])
			}
		}
		return nil
	})
	eventually(t, 10*time.Second, "features while filling", func() error {
		if err := suspend(); err != nil {
			return err
		}
		res, err := s.onehop.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
			Features: []string{"place_ratings.count_1h"}, AllowStale: true,
			Entities: map[string]*onehopv1.Values{"country": {String_: []string{"de", "fr"}}, "city": {String_: []string{"x|y", "paris"}}},
		})
		if err != nil {
			return err
		}
		if got := fmt.Sprint(res.GetColumns()[0].GetStatuses()); got != "[STATUS_STALE STATUS_FILLING]" {
			return fmt.Errorf("statuses %s", got)
		}
		return nil
	})
}
