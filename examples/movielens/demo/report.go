package main

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/internal/movielens"
)

// report is what the demo found; --json prints it.
type report struct {
	Data      dataReport      `json:"data"`
	Servers   []string        `json:"servers"`
	Ingest    ingestReport    `json:"ingest"`
	Users     []userReport    `json:"recommendations"`
	Why       whyReport       `json:"why"`
	Latency   latencyReport   `json:"latency"`
	Freshness freshnessReport `json:"freshness"`
	Addresses *addresses      `json:"addresses,omitempty"`
	Curl      string          `json:"curl,omitempty"`

	titles map[int64]movielens.Movie
}

type dataReport struct {
	Name      string `json:"name"`
	Generated bool   `json:"generated"`
	Why       string `json:"why_generated,omitempty"`
	Ratings   int    `json:"ratings"`
	Users     int    `json:"users"`
	Movies    int    `json:"movies"`
}

type ingestReport struct {
	Ratings int   `json:"ratings"`
	Online  speed `json:"online"`
	History speed `json:"history"`
}

type speed struct {
	Seconds         float64 `json:"seconds"`
	EventsPerSecond float64 `json:"events_per_second"`
}

func newSpeed(events int, took time.Duration) speed {
	return speed{Seconds: took.Seconds(), EventsPerSecond: float64(events) / took.Seconds()}
}

type userReport struct {
	User             int64         `json:"user_id"`
	Age              int           `json:"age"`
	Occupation       string        `json:"occupation"`
	Ratings          int           `json:"ratings"`
	LastRatedSeconds float64       `json:"last_rated_seconds_ago"`
	Candidates       int           `json:"candidates"`
	ModelVersion     int64         `json:"model_version"`
	Movies           []movieReport `json:"top"`
}

type movieReport struct {
	Movie  int64    `json:"movie_id"`
	Title  string   `json:"title"`
	Genres []string `json:"genres"`
	Score  float32  `json:"score"`
}

type whyReport struct {
	User          int64           `json:"user_id"`
	Movie         int64           `json:"movie_id"`
	Title         string          `json:"title"`
	Score         float32         `json:"score"`
	Features      []featureReport `json:"features"`
	NewestSeconds float64         `json:"freshness_seconds"`
}

type featureReport struct {
	Name       string  `json:"name"`
	Value      float64 `json:"value"`
	Status     string  `json:"status"`
	AgeSeconds float64 `json:"newest_event_seconds_ago,omitempty"`
}

type latencyReport struct {
	Calls      int     `json:"calls"`
	Candidates int     `json:"candidates"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Worst      float64 `json:"worst_ms"`
	RedisP50   float64 `json:"redis_p50_ms"`
	ModelP50   float64 `json:"model_p50_ms"`
}

type freshnessReport struct {
	Probes  int          `json:"probes"`
	User    int64        `json:"user_id"`
	P50     float64      `json:"p50_ms"`
	Worst   float64      `json:"worst_ms"`
	Changed changeReport `json:"scores"`
}

// changeReport says what new events did to a user's scores.
type changeReport struct {
	Changed   int     `json:"changed"`
	Of        int     `json:"of"`
	NewInTop  int     `json:"new_in_top_10"`
	Title     string  `json:"most_changed"`
	From      float32 `json:"from"`
	To        float32 `json:"to"`
	MeanShift float64 `json:"mean_shift"`
}

type addresses struct {
	Namespace string            `json:"namespace"`
	Serve     string            `json:"serve"`
	Infer     string            `json:"infer"`
	Admin     map[string]string `json:"admin"`
	Kafka     []string          `json:"kafka"`
	Redis     string            `json:"redis"`
	Postgres  string            `json:"postgres"`
}

// describe fills in what the stack is and, if it stays, how to reach it.
func (r *report) describe(s *stack, stays bool) {
	for _, part := range s.servers.Parts {
		kind, _, _ := strings.Cut(part.Kind, ", kept in") // not kept for long
		r.Servers = append(r.Servers, part.Name+": "+kind)
	}
	if !stays {
		return
	}
	r.Addresses = &s.addresses
	r.Curl = curl(s.addresses.Infer, s.calls[0], time.Now())
}

// curl is a command that asks for three recommendations.
func curl(infer string, c call, now time.Time) string {
	hour, day := events.Request(now.UnixMicro())
	movies := make([]string, 0, 5)
	for _, id := range c.candidates[:min(5, len(c.candidates))] {
		movies = append(movies, strconv.FormatInt(id, 10))
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
	return `curl -s -H 'Content-Type: application/json' -d '{"model":"` + model +
		`","entities":{"user_id":{"int64":[` + strconv.FormatInt(c.user, 10) +
		`]}},"candidates":{"movie_id":{"int64":[` + strings.Join(movies, ",") +
		`]}},"request":{"hour_of_day":{"double":[` + number(hour) + `]},"day_of_week":{"double":[` + number(day) +
		`]}},"top_k":3}' ` + infer + `/onehop.v1.InferenceService/GetFeaturesAndPredict`
}

// changes compares scores before and after.
func (r *report) changes(before, after map[int64]float32) changeReport {
	c := changeReport{Of: len(before)}
	var most float32
	var sum float64
	for _, movie := range byScore(before) {
		shift := after[movie] - before[movie]
		sum += float64(shift)
		if shift != 0 {
			c.Changed++
		}
		if max(shift, -shift) > most {
			most = max(shift, -shift)
			c.Title, c.From, c.To = r.titles[movie].Title, before[movie], after[movie]
		}
	}
	c.MeanShift = sum / float64(max(1, len(before)))
	top := byScore(before)[:min(topK, len(before))]
	for _, movie := range byScore(after)[:min(topK, len(after))] {
		if !slices.Contains(top, movie) {
			c.NewInTop++
		}
	}
	return c
}

// sortedKeys are the keys of a map in the order that less gives, ties by the key.
func sortedKeys[V any](m map[int64]V, less func(a, b int64) bool) []int64 {
	return slices.SortedFunc(maps.Keys(m), func(a, b int64) int {
		switch {
		case less(a, b):
			return -1
		case less(b, a):
			return 1
		default:
			return cmp.Compare(a, b)
		}
	})
}
