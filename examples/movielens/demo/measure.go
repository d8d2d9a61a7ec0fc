package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/internal/movielens"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const (
	// warmUp is how many calls are made before those that count.
	warmUp = 200
	// probes is how many ratings are pushed to see how soon they show.
	probes = 20
	// probeWithin bounds the wait for one of them.
	probeWithin = 10 * time.Second
)

// measureCalls times predictions, one after the other, as a caller on the network sees
// them.
func (s *stack) measureCalls(count int, r *report, p *progress) error {
	bar := p.bar("Timing predictions", count)
	took := make([]time.Duration, 0, count)
	var read, run []time.Duration
	for i := range warmUp + count {
		req := s.calls[i%len(s.calls)].request(time.Now())
		start := time.Now()
		res, err := s.inference.GetFeaturesAndPredict(s.ctx, req)
		if err != nil {
			return fmt.Errorf("timing predictions: %w", err)
		}
		if i < warmUp {
			continue
		}
		took = append(took, time.Since(start))
		read = append(read, time.Duration(res.GetTimings().GetReadUs())*time.Microsecond)
		run = append(run, time.Duration(res.GetTimings().GetRunUs())*time.Microsecond)
		bar.set(i + 1 - warmUp)
	}
	r.Latency = latencyReport{
		Calls: count, Candidates: len(s.calls[0].candidates), P50: milliseconds(took, 0.5), P99: milliseconds(took, 0.99),
		Worst: milliseconds(took, 1), RedisP50: milliseconds(read, 0.5), ModelP50: milliseconds(run, 0.5),
	}
	return nil
}

// milliseconds is a quantile by the nearest rank, 0 of nothing. It sorts all.
func milliseconds(all []time.Duration, quantile float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	at := min(len(all)-1, int(quantile*float64(len(all))))
	return float64(all[at].Microseconds()) / 1000
}

// measureFreshness pushes ratings of one user, one at a time, and times until each is
// in the features that are served. Then it looks at what they did to the scores.
func (s *stack) measureFreshness(r *report, p *progress) error {
	c := s.calls[len(s.calls)-1]
	now := time.Now() // of the request fields: only events shall differ
	before, err := s.scores(s.ctx, c, now)
	if err != nil {
		return err
	}
	bar := p.bar("Pushing ratings", probes)
	// The worst ranked candidates, liked: the model must learn of a taste that it did not expect.
	liked := byScore(before)
	slices.Reverse(liked)
	var took []time.Duration
	for i, movie := range liked[:min(probes, len(liked))] {
		one, err := s.probe(c.user, r.titles[movie])
		if err != nil {
			return err
		}
		took = append(took, one)
		bar.set(i + 1)
	}
	after, err := s.scores(s.ctx, c, now)
	if err != nil {
		return err
	}
	r.Freshness = freshnessReport{
		Probes: len(took), User: c.user, P50: milliseconds(took, 0.5), Worst: milliseconds(took, 1),
		Changed: r.changes(before, after),
	}
	return nil
}

// byScore are the movies, best first.
func byScore(scores map[int64]float32) []int64 {
	return sortedKeys(scores, func(a, b int64) bool { return scores[a] > scores[b] })
}

// probe pushes a rating of five stars and waits until it is counted.
func (s *stack) probe(user int64, movie movielens.Movie) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, probeWithin, fmt.Errorf("a pushed rating did not show within %s", probeWithin))
	defer cancel()
	before, err := s.sum(ctx, "user_ratings.count_lifetime", "user_id", []int64{user})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	rating := movielens.Rating{UserID: user, MovieID: movie.ID, Rating: 5, Time: start.UnixMicro()}
	event := events.Rating(rating, movie.Genres).Value
	if _, err := s.features.PushEvents(ctx, &onehopv1.PushEventsRequest{Source: events.Ratings, Events: []string{string(event)}}); err != nil {
		return 0, fmt.Errorf("pushing a rating: %w", err)
	}
	for {
		now, err := s.sum(ctx, "user_ratings.count_lifetime", "user_id", []int64{user})
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case err != nil:
			return 0, err
		case now > before:
			return time.Since(start), nil
		}
	}
}
