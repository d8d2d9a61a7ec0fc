package statistics

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

const (
	// bins is how many parts of equal weight the numbers of the reference are cut into.
	bins = 10
	// categories is how many of the most frequent texts are told apart.
	categories = 20
	// least is the share that a part has at least: a logarithm of nothing is not to be had.
	least = 1e-4
)

// PSI is the population stability index of a feature: how far its values have drifted from
// those of a reference, Σ (pᵢ − qᵢ)·ln(pᵢ/qᵢ) over the shares pᵢ and qᵢ of parts. Numbers are
// cut at the deciles of the reference, texts and lists into the most frequent ones and the
// rest, and nulls are a part of their own. By custom less than 0.1 is no drift and more than
// 0.25 much. It is 0 when either has no values.
func PSI(reference, current []featurestore.Cell) float64 {
	if len(reference) == 0 || len(current) == 0 {
		return 0
	}
	part := parts(reference)
	p, q := shares(reference, part), shares(current, part)
	sum := 0.0
	for i := range max(len(p), len(q)) {
		a, b := share(p, i), share(q, i)
		sum += (b - a) * math.Log(b/a)
	}
	return sum
}

func share(shares []float64, i int) float64 {
	if i >= len(shares) {
		return least
	}
	return max(shares[i], least)
}

// shares is the share of the cells in each part; part 0 is that of the nulls.
func shares(cells []featurestore.Cell, part func(featurestore.Value) int) []float64 {
	var counts []float64
	for i := range cells {
		at := 0
		if cells[i].Status == featurestore.Present {
			at = part(cells[i].Value)
		}
		for len(counts) <= at {
			counts = append(counts, 0)
		}
		counts[at] += 1 / float64(len(cells))
	}
	return counts
}

// parts cuts the values of a reference into parts, numbered from 1.
func parts(reference []featurestore.Cell) func(featurestore.Value) int {
	var numbers []float64
	counts := map[string]int{}
	for i := range reference {
		c := &reference[i]
		if c.Status != featurestore.Present {
			continue
		}
		if f, ok := c.Value.Number(); ok {
			numbers = append(numbers, f)
		} else {
			counts[identity(c.Value)]++
		}
	}
	if len(numbers) > 0 || len(counts) == 0 {
		return byNumber(numbers)
	}
	return byCategory(counts)
}

// byNumber cuts at the deciles: part i+1 has the numbers above i edges.
func byNumber(numbers []float64) func(featurestore.Value) int {
	slices.Sort(numbers)
	var edges []float64
	for i := 1; i < bins && len(numbers) > 0; i++ {
		edges = append(edges, numbers[rank(len(numbers), float64(i)/bins)])
	}
	edges = slices.Compact(edges)
	return func(v featurestore.Value) int {
		f, _ := v.Number()
		at, _ := slices.BinarySearch(edges, f) // an edge is the last of its part
		return 1 + at
	}
}

func byCategory(counts map[string]int) func(featurestore.Value) int {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	names = names[:min(len(names), categories)]
	return func(v featurestore.Value) int {
		if at := slices.Index(names, identity(v)); at >= 0 {
			return 2 + at
		}
		return 1 // any other
	}
}
