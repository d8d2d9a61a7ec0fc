// Package events turns the example's data into the records that producers would send:
// movies, users and ratings. The training set and the demo fold the same records.
package events

import (
	"strconv"
	"time"

	"github.com/onehop/onehop/internal/generate"
	"github.com/onehop/onehop/internal/movielens"
)

// The names of the sources that the records belong to.
const (
	Movies  = "movies"
	Users   = "users"
	Ratings = "ratings"
)

// before is how long before the first rating all movies were listed and all users
// signed up: the data doesn't say when they really were.
const before = time.Minute

// Record is a record of a source's topic.
type Record struct {
	Source string
	// Key is the id of the movie or user in decimal, so that all ratings of a user are in one partition.
	Key, Value []byte
	// Time is the event time and the record's timestamp, in microseconds.
	Time int64
}

// Of lists the records of a data set: movies, users, then ratings in order of time.
func Of(data *movielens.Dataset) []Record {
	if len(data.Ratings) == 0 {
		return nil // nothing happened
	}
	records := make([]Record, 0, len(data.Movies)+len(data.Users)+len(data.Ratings))
	listed := data.Ratings[0].Time - before.Microseconds()
	genres := make(map[int64][]string, len(data.Movies))
	for _, m := range data.Movies {
		genres[m.ID] = m.Genres
		item := generate.Item{ID: m.ID, Title: m.Title, Year: m.Year, Genres: m.Genres}
		records = append(records, Record{Movies, key(m.ID), appendFlags(item.AppendJSON(nil, listed), m.Genres), listed})
	}
	for _, u := range data.Users {
		user := generate.User{ID: u.ID, Age: u.Age, Gender: u.Gender, Occupation: u.Occupation}
		records = append(records, Record{Users, key(u.ID), user.AppendJSON(nil, listed), listed})
	}
	for _, r := range data.Ratings {
		records = append(records, Rating(r, genres[r.MovieID]))
	}
	return records
}

// Rating is the record of a rating of a movie of some genres.
func Rating(r movielens.Rating, genres []string) Record {
	value := generate.AppendRating(nil, r.UserID, r.MovieID, r.Rating, r.Time)
	return Record{Ratings, key(r.UserID), appendStars(value, r.Rating, genres), r.Time}
}

// Request computes the fields that a caller of the model brings, at a time in
// microseconds: the hour of the day with its fraction, and the day of the week, 0 for
// Monday, both in UTC.
func Request(at int64) (hourOfDay, dayOfWeek float64) {
	t := time.UnixMicro(at).UTC()
	midnight := t.Truncate(24 * time.Hour)
	return t.Sub(midnight).Hours(), float64((t.Weekday() + 6) % 7)
}

func key(id int64) []byte { return strconv.AppendInt(nil, id, 10) }
