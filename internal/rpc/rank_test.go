package rpc

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPlacesSortAsNumbersDo: best scores first, and equal ones in the order of the request.
func TestPlacesSortAsNumbersDo(t *testing.T) {
	score := rapid.OneOf(rapid.Float32(), rapid.SampledFrom([]float32{0, 1, float32(math.Inf(-1)), float32(math.NaN())}), rapid.Float32Range(0, 1))
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOfN(score, 0, 300).Draw(t, "scores")
		var places []uint64
		for i, s := range scores {
			places = append(places, place(s, i))
		}
		want := slices.Clone(places)
		slices.Sort(want)
		got, rest := sortPlaces(places, make([]uint64, len(places)))
		if !slices.Equal(got, want) || len(rest) != len(got) {
			t.Fatalf("%v are sorted as %x, want %x", scores, got, want)
		}
	})
}
