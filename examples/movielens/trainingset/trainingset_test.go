package main

import (
	"bytes"
	"encoding/csv"
	"io"
	"math"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/internal/movielens"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// naive are features computed by running over all earlier ratings.
func naive(data *movielens.Dataset, r movielens.Rating, name string) (value float64, missing bool) {
	type window struct{ length, hop time.Duration }
	mine := func(o movielens.Rating) bool { return o.UserID == r.UserID }
	if name[:5] == "movie" {
		mine = func(o movielens.Rating) bool { return o.MovieID == r.MovieID }
	}
	over := func(w window) (count, sum float64) {
		from := int64(0)
		if w.length > 0 {
			from = r.Time - w.length.Microseconds()
			from -= from % w.hop.Microseconds()
		}
		for _, o := range data.Ratings {
			if mine(o) && o.Time < r.Time && o.Time >= from {
				count, sum = count+1, sum+o.Rating
			}
		}
		return count, sum
	}
	month := window{30 * 24 * time.Hour, 6 * time.Hour}
	switch name {
	case "user_ratings.count_lifetime", "movie_ratings.count_lifetime":
		value, _ = over(window{})
		return value, value == 0
	case "user_ratings.count_1h":
		value, _ = over(window{time.Hour, time.Minute})
		all, _ := over(window{})
		return value, all == 0
	case "movie_ratings.count_7d":
		value, _ = over(window{7 * 24 * time.Hour, time.Hour})
		all, _ := over(window{})
		return value, all == 0
	default: // user_ratings.mean_rating_30d, movie_ratings.mean_rating_30d
		count, sum := over(month)
		return sum / count, count == 0
	}
}

// TestFeaturesEqualANaiveComputation: the first rows, where ratings of the same second
// abound, and the last ones, with a long past.
func TestFeaturesEqualANaiveComputation(t *testing.T) {
	data := events.Generated(5000)
	for i := range data.Ratings { // as in MovieLens: whole seconds, several ratings at once
		data.Ratings[i].Time -= data.Ratings[i].Time % 20e6
	}
	rows := trainingSet(t, data)
	if len(rows) != len(data.Ratings)+1 {
		t.Fatalf("%d lines for %d ratings", len(rows), len(data.Ratings))
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	found := 0
	for i := range data.Ratings {
		if i > 100 && i < len(data.Ratings)-200 {
			continue
		}
		r, row := data.Ratings[i], rows[i+1]
		if row[column["user_id"]] != strconv.FormatInt(r.UserID, 10) || row[column["time"]] != strconv.FormatInt(r.Time, 10) ||
			(row[column["label"]] == "1") != (r.Rating >= 4) {
			t.Fatalf("line %d is %v for %+v", i+1, row, r)
		}
		for _, name := range []string{
			"user_ratings.count_lifetime", "user_ratings.count_1h", "user_ratings.mean_rating_30d",
			"movie_ratings.count_lifetime", "movie_ratings.count_7d", "movie_ratings.mean_rating_30d",
		} {
			want, missing := naive(data, r, name)
			got := row[column[name]]
			if missing {
				if got != "" {
					t.Errorf("line %d: %s is %s, want it to be missing", i+1, name, got)
				}
				continue
			}
			found++
			if number, err := strconv.ParseFloat(got, 64); err != nil || math.Abs(number-want) > 1e-9 {
				t.Errorf("line %d: %s is %q, want %g", i+1, name, got, want)
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d values were there to compare", found)
	}
}

func trainingSet(t *testing.T, data *movielens.Dataset) [][]string {
	t.Helper()
	catalog, err := definition.Load("../definitions")
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuilder(catalog, "movie_ranker")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.write(t.Context(), &out, events.Of(data), io.Discard); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
