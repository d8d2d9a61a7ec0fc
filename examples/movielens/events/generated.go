package events

import (
	"time"

	"github.com/onehop/onehop/internal/generate"
	"github.com/onehop/onehop/internal/movielens"
)

// Generated invents a data set of count ratings in the shape of MovieLens, for where
// MovieLens can't be had. The same count gives the same data.
func Generated(count int) *movielens.Dataset {
	const span = 200 * 24 * time.Hour // as MovieLens has
	gen := generate.New(generate.Options{
		Seed: 1, Users: 943, Items: 1682, SessionLength: 60, Rate: float64(count) / span.Seconds(),
	})
	data := &movielens.Dataset{}
	for _, m := range gen.Items() {
		data.Movies = append(data.Movies, movielens.Movie{ID: m.ID, Title: m.Title, Year: m.Year, Genres: m.Genres})
	}
	for _, u := range gen.Users() {
		data.Users = append(data.Users, movielens.User{ID: u.ID, Age: u.Age, Gender: u.Gender, Occupation: u.Occupation})
	}
	for range count {
		e := gen.Next()
		data.Ratings = append(data.Ratings, movielens.Rating{UserID: e.UserID, MovieID: e.ItemID, Rating: e.Rating, Time: e.Time})
	}
	return data
}
