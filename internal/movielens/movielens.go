// Package movielens gives the demo, the example model and the benchmarks 100,000 real ratings: MovieLens 100K of GroupLens
// (Harper and Konstan 2015). Its licence forbids us to pass it on, so it is taken from the sample data inside the Python
// package recbole with the user's own pip, and kept in the cache.
package movielens

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/onehop/onehop/internal/cache"
	"github.com/onehop/onehop/internal/wheel"
)

// ErrUnavailable is wrapped by [Load]'s error when pip is missing or doesn't deliver; use generated events then.
var ErrUnavailable = wheel.ErrUnavailable

const (
	requirement = "recbole==1.2.1"
	cacheEntry  = "movielens-100k-recbole-1.2.1"
	ratingsFile = "ml-100k.inter"
	moviesFile  = "ml-100k.item"
	usersFile   = "ml-100k.user"
)

// Rating says that a user gave a movie 1 to 5 stars.
type Rating struct {
	UserID, MovieID int64
	Rating          float64
	Time            int64 // microseconds since 1970, UTC
}

// Movie is a film as of 1998.
type Movie struct {
	ID     int64
	Title  string
	Year   int // 0 if unknown
	Genres []string
}

// User is a rater.
type User struct {
	ID         int64
	Age        int // years
	Gender     string
	Occupation string
	Zip        string
}

// Dataset is the whole sample: 100,000 ratings of 1,682 movies by 943 users.
type Dataset struct {
	Ratings []Rating // by time, then user and movie
	Movies  []Movie  // by id
	Users   []User   // by id
}

// Load reads the data set, fetching it first (2 MB) if it isn't in the cache. The caller owns the result.
func Load(ctx context.Context) (*Dataset, error) {
	dir, err := cache.Install(ctx, cacheEntry, fetch)
	if err != nil {
		return nil, fmt.Errorf("load MovieLens 100K: %w", err)
	}
	data, err := parseFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("load MovieLens 100K: %w; remove %s to fetch it again", err, dir)
	}
	return data, nil
}

func fetch(ctx context.Context, dir string) error {
	file, err := wheel.Download(ctx, dir, requirement)
	if err != nil {
		return err
	}
	count, err := wheel.Extract(file, dir, func(member string) string {
		folder, name := path.Split(member)
		if folder == "recbole/dataset_example/ml-100k/" && (name == ratingsFile || name == moviesFile || name == usersFile) {
			return name
		}
		return ""
	})
	if err == nil && count != 3 {
		err = fmt.Errorf("%w: %s holds %d of the 3 files", ErrUnavailable, requirement, count)
	}
	return errors.Join(err, os.Remove(file))
}

func parseFiles(dir string) (*Dataset, error) {
	var files [3]*os.File
	for i, name := range []string{ratingsFile, moviesFile, usersFile} {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // Only read from.
		files[i] = file
	}
	return Parse(files[0], files[1], files[2])
}

// ShiftTo moves all ratings in time by the same amount, so that the newest was given at the time newest.
func (d *Dataset) ShiftTo(newest time.Time) {
	if len(d.Ratings) == 0 {
		return
	}
	shift := newest.UnixMicro() - d.Ratings[len(d.Ratings)-1].Time
	for i := range d.Ratings {
		d.Ratings[i].Time += shift
	}
}

func (d *Dataset) sort() {
	slices.SortFunc(d.Ratings, func(a, b Rating) int {
		return compare([3]int64{a.Time, a.UserID, a.MovieID}, [3]int64{b.Time, b.UserID, b.MovieID})
	})
	slices.SortFunc(d.Movies, func(a, b Movie) int { return int(a.ID - b.ID) })
	slices.SortFunc(d.Users, func(a, b User) int { return int(a.ID - b.ID) })
}

func compare(a, b [3]int64) int { return slices.Compare(a[:], b[:]) }
