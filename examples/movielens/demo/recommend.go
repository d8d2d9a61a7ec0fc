package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/internal/movielens"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const (
	model = "movie_ranker"
	// topK is how many movies are recommended.
	topK = 10
)

// call is what is asked for one user.
type call struct {
	user       int64
	candidates []int64
}

// request is the request for the best of the call's candidates now.
func (c call) request(now time.Time) *onehopv1.GetFeaturesAndPredictRequest {
	hour, day := events.Request(now.UnixMicro())
	return &onehopv1.GetFeaturesAndPredictRequest{
		Model:      model,
		Entities:   map[string]*onehopv1.Values{"user_id": {Int64: []int64{c.user}}},
		Candidates: map[string]*onehopv1.Values{"movie_id": {Int64: c.candidates}},
		Request: map[string]*onehopv1.Values{
			"hour_of_day": {Double: []float64{hour}}, "day_of_week": {Double: []float64{day}},
		},
		TopK: topK,
	}
}

// recommend asks for the ten best movies of some users, over the network.
func (s *stack) recommend(data *movielens.Dataset, r *report) error {
	last := map[int64]int64{}
	given := map[int64]int{}
	for _, rating := range data.Ratings {
		last[rating.UserID] = rating.Time
		given[rating.UserID]++
	}
	for _, user := range recentUsers(data) {
		s.calls = append(s.calls, call{user: user, candidates: candidates(data, user)})
	}
	if len(s.calls) == 0 {
		return errors.New("the data has no user with enough ratings to recommend anything to")
	}
	for i, c := range s.calls {
		req := c.request(time.Now())
		req.ReturnFeatures = true
		res, err := s.inference.GetFeaturesAndPredict(s.ctx, req)
		if err != nil {
			return fmt.Errorf("recommendations for user %d: %w", c.user, err)
		}
		at := slices.IndexFunc(data.Users, func(u movielens.User) bool { return u.ID == c.user })
		user := data.Users[at]
		r.Users = append(r.Users, userReport{
			User: c.user, Age: user.Age, Occupation: user.Occupation, Ratings: given[c.user],
			LastRatedSeconds: time.Since(time.UnixMicro(last[c.user])).Seconds(),
			Candidates:       len(c.candidates), ModelVersion: res.GetModelVersion(),
			Movies: r.movies(res),
		})
		if i == 0 {
			r.Why = why(c.user, res, r)
		}
	}
	return nil
}

// movies are the recommendations of an answer.
func (r *report) movies(res *onehopv1.GetFeaturesAndPredictResponse) []movieReport {
	movies := make([]movieReport, len(res.GetScores()))
	for i, id := range res.GetCandidates()["movie_id"].GetInt64() {
		movies[i] = movieReport{Movie: id, Title: r.titles[id].Title, Genres: r.titles[id].Genres, Score: res.GetScores()[i]}
	}
	return movies
}

// why are the feature values behind the best score.
func why(user int64, res *onehopv1.GetFeaturesAndPredictResponse, r *report) whyReport {
	best := res.GetCandidates()["movie_id"].GetInt64()[0]
	w := whyReport{
		User: user, Movie: best, Title: r.titles[best].Title, Score: res.GetScores()[0],
		NewestSeconds: float64(res.GetFreshnessUs()) / 1e6,
	}
	for _, column := range res.GetFeatures() {
		f := featureReport{Name: column.GetName(), Status: column.GetStatuses()[0].String()[len("STATUS_"):]}
		switch v := column.GetValues(); {
		case len(v.GetInt64()) > 0:
			f.Value = float64(v.GetInt64()[0])
		case len(v.GetDouble()) > 0:
			f.Value = v.GetDouble()[0]
		}
		if times := column.GetEventTimesUs(); len(times) > 0 && times[0] > 0 {
			f.AgeSeconds = float64(res.GetReadTimeUs()-times[0]) / 1e6
		}
		w.Features = append(w.Features, f)
	}
	return w
}

// scores asks for the scores of all candidates of a call, by movie.
func (s *stack) scores(ctx context.Context, c call, now time.Time) (map[int64]float32, error) {
	req := c.request(now)
	req.TopK = 0
	res, err := s.inference.GetFeaturesAndPredict(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("scores for user %d: %w", c.user, err)
	}
	found := map[int64]float32{}
	for i, id := range res.GetCandidates()["movie_id"].GetInt64() {
		found[id] = res.GetScores()[i]
	}
	return found, nil
}
