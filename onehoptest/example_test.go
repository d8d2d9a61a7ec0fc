package onehoptest_test

import (
	"testing"
	"time"

	"github.com/onehop/onehop/onehoptest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// Without URLs the servers are started in containers, once for all tests of the
// process. This example is compiled; it runs where Docker does.
func ExampleStart() {
	_ = func(t *testing.T) {
		o := onehoptest.Start(t, onehoptest.Options{Definitions: []string{"definitions"}, Models: "models"})

		rating := map[string]any{"user_id": 7, "movie_id": 50, "rating": 4.5, "event_time": time.Now().UnixMicro()}
		o.WaitVisible(t, o.Produce(t, "ratings", rating)...)

		res, err := o.Inference().GetFeaturesAndPredict(t.Context(), &onehopv1.GetFeaturesAndPredictRequest{
			Model:      "movie_ranker",
			Entities:   map[string]*onehopv1.Values{"user_id": {Int64: []int64{7}}},
			Candidates: map[string]*onehopv1.Values{"movie_id": {Int64: []int64{50, 181, 258}}},
			TopK:       1,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Log("the best movie:", res.GetCandidates()["movie_id"].GetInt64()[0])
	}
}
