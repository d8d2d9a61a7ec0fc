package movielens_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/onehop/onehop/internal/movielens"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Invented rows in the sample's format.
const (
	ratings = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n2\t7\t4\t300\n1\t7\t2.5\t100\n1\t8\t5\t300\n"
	movies  = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n" +
		"8\tThe Long Commit (1994)\tV\tDrama Children's\n7\tRace Detector\t1997\tThriller\n9\tunknown\tunknown\tunknown\n"
	users = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\r\n2\t53\tF\tother\t94043\r\n1\t24\tM\twriter\tV5A2B\r\n"
)

func parse(t *testing.T, ratings, movies, users string) (*movielens.Dataset, error) {
	t.Helper()
	return movielens.Parse(strings.NewReader(ratings), strings.NewReader(movies), strings.NewReader(users))
}

func TestParse(t *testing.T) {
	got, err := parse(t, ratings, movies, users)
	if err != nil {
		t.Fatal(err)
	}
	want := &movielens.Dataset{
		Ratings: []movielens.Rating{{1, 7, 2.5, 100e6}, {1, 8, 5, 300e6}, {2, 7, 4, 300e6}},
		Movies: []movielens.Movie{
			{7, "Race Detector", 1997, []string{"Thriller"}},
			{8, "The Long Commit (1994)", 1994, []string{"Drama", "Children's"}},
			{9, "unknown", 0, []string{"unknown"}},
		},
		Users: []movielens.User{{1, 24, "M", "writer", "V5A2B"}, {2, 53, "F", "other", "94043"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseNamesThePlaceOfAMistake(t *testing.T) {
	for name, test := range map[string]struct{ ratings, movies, users, want string }{
		"no number":     {ratings + "1\tx\t3\t5\n", movies, users, `rating file, line 5: item_id is "x"`},
		"short line":    {ratings, movies + "10\tTitle\n", users, "movie file, line 5: it has 2 columns and release_year is missing"},
		"no column":     {ratings, movies, "user_id:token\n", `user file, line 1: the header has no column "age"`},
		"empty":         {"", movies, users, "rating file: it is empty"},
		"endless line":  {ratings + strings.Repeat("1", 1<<17), movies, users, "rating file"},
		"huge rating":   {ratings + "1\t1\t1e999\t5\n", movies, users, "rating is"},
		"missing field": {ratings + "1\t1\t\t5\n", movies, users, `rating is ""`},
	} {
		if _, err := parse(t, test.ratings, test.movies, test.users); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ratings, movies, users)
	f.Fuzz(func(t *testing.T, ratings, movies, users string) {
		data, err := parse(t, ratings, movies, users)
		if err == nil && !slices.IsSortedFunc(data.Ratings, func(a, b movielens.Rating) int { return int(a.Time>>32 - b.Time>>32) }) {
			t.Error("ratings are out of order")
		}
	})
}

func TestShiftTo(t *testing.T) {
	data, err := parse(t, ratings, movies, users)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	data.ShiftTo(now)
	if first, last := data.Ratings[0].Time, data.Ratings[2].Time; last != now.UnixMicro() || last-first != 200e6 {
		t.Errorf("ratings from %d to %d, want the last at %d and 200 s between", first, last, now.UnixMicro())
	}
	new(movielens.Dataset).ShiftTo(now)
}

func TestLoadWithoutPip(t *testing.T) {
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	if _, err := movielens.Load(t.Context()); !errors.Is(err, movielens.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
}

func TestLoadTheRealThing(t *testing.T) {
	data, err := movielens.Load(t.Context())
	if errors.Is(err, movielens.ErrUnavailable) {
		t.Skipf("SKIPPED, the real data set was not tested: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(data.Ratings) != 100_000 || len(data.Movies) != 1682 || len(data.Users) != 943 {
		t.Errorf("%d ratings, %d movies, %d users", len(data.Ratings), len(data.Movies), len(data.Users))
	}
	movies := map[int64]movielens.Movie{}
	for _, movie := range data.Movies {
		movies[movie.ID] = movie
	}
	for i, rating := range data.Ratings {
		if rating.Rating < 1 || rating.Rating > 5 || rating.UserID < 1 || rating.UserID > 943 || movies[rating.MovieID].ID == 0 {
			t.Fatalf("rating %d: %+v", i, rating)
		}
	}
	// The first ratings are of September 1997, the last of April 1998.
	first, last := time.UnixMicro(data.Ratings[0].Time).UTC(), time.UnixMicro(data.Ratings[99_999].Time).UTC()
	if first.Format("2006-01") != "1997-09" || last.Format("2006-01") != "1998-04" {
		t.Errorf("ratings from %v to %v", first, last)
	}
}
