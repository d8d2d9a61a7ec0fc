package main

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/onehop/onehop/internal/movielens"
)

const (
	// shownUsers is how many users get recommendations.
	shownUsers = 5
	// fewestRatings is how many ratings a shown user has at least.
	fewestRatings = 20
	// shownCandidates is how many movies are scored for each.
	shownCandidates = 100
	// popularDays is how far back popularity looks.
	popularDays = 30
)

// recentUsers are the users who rated last: the ratings span months, and of users who rated
// long ago the windows are empty by now.
func recentUsers(data *movielens.Dataset) []int64 {
	given := map[int64]int{}
	for _, r := range data.Ratings {
		given[r.UserID]++
	}
	var users []int64
	for _, r := range slices.Backward(data.Ratings) {
		if given[r.UserID] >= fewestRatings && !slices.Contains(users, r.UserID) {
			users = append(users, r.UserID)
		}
		if len(users) == shownUsers {
			break
		}
	}
	return users
}

// candidates are movies that the user has not rated: half of them the most rated of
// the last month, the others drawn at random.
func candidates(data *movielens.Dataset, user int64) []int64 {
	if len(data.Ratings) == 0 {
		return nil
	}
	since := data.Ratings[len(data.Ratings)-1].Time - (popularDays * 24 * time.Hour).Microseconds()
	rated, recent := map[int64]bool{}, map[int64]int{}
	for _, r := range data.Ratings {
		rated[r.MovieID] = rated[r.MovieID] || r.UserID == user
		if r.Time >= since {
			recent[r.MovieID]++
		}
	}
	popular := slices.SortedFunc(maps.Keys(recent), func(a, b int64) int {
		return cmp.Or(cmp.Compare(recent[b], recent[a]), cmp.Compare(a, b))
	})
	popular = slices.DeleteFunc(popular, func(movie int64) bool { return rated[movie] })
	chosen := slices.Clone(popular[:min(len(popular), shownCandidates/2)])
	random := rand.New(rand.NewPCG(1, uint64(user))) //nolint:gosec // the same candidates each time
	for _, i := range random.Perm(len(data.Movies)) {
		movie := data.Movies[i].ID
		if len(chosen) == shownCandidates {
			break
		}
		if !rated[movie] && !slices.Contains(chosen, movie) {
			chosen = append(chosen, movie)
		}
	}
	return chosen
}
