// Package shadow has a version of a model answer requests once more, after their callers were answered by another, and tells how
// far the scores of both are apart. It never delays a caller: what it cannot take at once is dropped and counted.
package shadow

import (
	"cmp"
	"errors"
	"math"
	"slices"
)

// Divergence is how far two lists of scores of the same candidates are apart.
type Divergence struct {
	// MeanAbsolute is the mean of the absolute differences of the scores.
	MeanAbsolute float64
	// RankCorrelation is Spearman's, with mean ranks for equal scores: 1 for the same order, −1 for the reverse. It is NaN
	// where one list has only equal scores, or one score.
	RankCorrelation float64
	// SameBest says that both have the same candidate first.
	SameBest bool
}

var (
	errLengths = errors.New("there are not as many scores as the served version gave")
	errNaN     = errors.New("a score is not a number")
)

// Compare compares the scores that were served with those of the shadow.
func Compare(served, shadow []float32) (Divergence, error) {
	if len(served) != len(shadow) || len(served) == 0 {
		return Divergence{}, errLengths
	}
	sum := 0.0
	for i := range served {
		sum += math.Abs(float64(served[i]) - float64(shadow[i]))
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return Divergence{}, errNaN
	}
	return Divergence{
		MeanAbsolute: sum / float64(len(served)), RankCorrelation: pearson(ranks(served), ranks(shadow)), SameBest: best(served) == best(shadow),
	}, nil
}

// best is the index of the highest score, the first of equal ones, as answers are ordered.
func best(scores []float32) int {
	at := 0
	for i, s := range scores {
		if s > scores[at] {
			at = i
		}
	}
	return at
}

// ranks are the places of scores in their order; equal ones share the mean of theirs.
func ranks(scores []float32) []float64 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	places := make([]float64, len(scores))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && scores[order[to]] == scores[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			places[i] = float64(from+to-1) / 2
		}
		from = to
	}
	return places
}

// pearson is the correlation of two lists.
func pearson(a, b []float64) float64 {
	mean := float64(len(a)-1) / 2 // of ranks from 0
	var ab, aa, bb float64
	for i := range a {
		x, y := a[i]-mean, b[i]-mean
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return max(-1, min(1, ab/math.Sqrt(aa*bb))) // rounding may go past 1
}
