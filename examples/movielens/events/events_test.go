package events_test

import (
	"testing"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/internal/movielens"
)

func TestRecords(t *testing.T) {
	data := &movielens.Dataset{
		Movies:  []movielens.Movie{{ID: 7, Title: "Alien", Year: 1979, Genres: []string{"Horror", "Sci-Fi"}}},
		Users:   []movielens.User{{ID: 3, Age: 30, Gender: "F", Occupation: "writer"}},
		Ratings: []movielens.Rating{{UserID: 3, MovieID: 7, Rating: 4.5, Time: 874724710000000}},
	}
	want := []string{
		`{"movie_id":7,"title":"Alien","year":1979,"genres":["Horror","Sci-Fi"],"main_genre":"Horror","genre_count":2,"event_time":874724650000000,` +
			`"drama":0,"comedy":0,"action":0,"thriller":0,"romance":0,"adventure":0,"sci_fi":1,"crime":0}`,
		`{"user_id":3,"age":30,"gender":"F","occupation":"writer","event_time":874724650000000}`,
		`{"user_id":3,"movie_id":7,"rating":4.5,"event_time":874724710000000,"sci_fi":4.5}`,
	}
	records := events.Of(data)
	if len(records) != len(want) {
		t.Fatalf("%d records, want %d", len(records), len(want))
	}
	for i, r := range records {
		if string(r.Value) != want[i] {
			t.Errorf("record %d is\n%s, want\n%s", i, r.Value, want[i])
		}
	}
	if events.Of(&movielens.Dataset{}) != nil {
		t.Error("records of nothing")
	}
}

func TestRequest(t *testing.T) {
	// 1997-09-20 03:05:10 UTC, a Saturday.
	if hour, day := events.Request(874724710000000); hour < 3.086 || hour > 3.0862 || day != 5 {
		t.Errorf("hour %g, day %g", hour, day)
	}
}

func TestGeneratedIsTheSameEachTime(t *testing.T) {
	a, b := events.Of(events.Generated(500)), events.Of(events.Generated(500))
	for i := range a {
		if string(a[i].Value) != string(b[i].Value) || a[i].Time != b[i].Time {
			t.Fatalf("record %d is\n%s, and then\n%s", i, a[i].Value, b[i].Value)
		}
	}
}
