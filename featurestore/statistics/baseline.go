package statistics

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/onehop/onehop/featurestore"
)

const (
	// bins is how many parts of equal weight the numbers of a baseline are cut into.
	bins = 10
	// categories is how many of the most frequent texts are told apart.
	categories = 20
	// least is the share that a part has at least: a logarithm of nothing is not to be had.
	least = 1e-4
)

// Baseline is how the values of a feature were distributed: in the training set of a model,
// to say how far those of later have drifted from them. It holds no text of a value. As
// JSON it can be kept.
type Baseline struct {
	// Rows is how many values there were, nulls among them.
	Rows int `json:"rows"`
	// Edges cut numbers into parts: the deciles, of which each is the last number of its part.
	Edges []float64 `json:"edges,omitempty"`
	// Categories are hashes of the most frequent texts or lists; nil for numbers.
	Categories []string `json:"categories,omitempty"`
	// Shares are those of the nulls, then of numbers up to each edge and above the last one, or
	// of the rest of the texts and then of each category.
	Shares []float64 `json:"shares"`
}

// NewBaseline is the distribution of values.
func NewBaseline(cells []featurestore.Cell) Baseline {
	b := Baseline{Rows: len(cells)}
	var numbers []float64
	counts := map[string]int{}
	for i := range cells {
		c := &cells[i]
		if c.Status != featurestore.Present {
			continue
		}
		if f, ok := c.Value.Number(); ok {
			if !math.IsNaN(f) && !math.IsInf(f, 0) { // of files; features have none
				numbers = append(numbers, f)
			}
		} else {
			counts[category(c.Value)]++
		}
	}
	if len(numbers) > 0 || len(counts) == 0 {
		b.Edges = deciles(numbers)
	} else {
		names := slices.SortedFunc(maps.Keys(counts), func(x, y string) int { return cmp.Or(counts[y]-counts[x], cmp.Compare(x, y)) })
		b.Categories = names[:min(len(names), categories)]
	}
	b.Shares = b.shares(cells)
	return b
}

// deciles are the different deciles of numbers.
func deciles(numbers []float64) []float64 {
	slices.Sort(numbers)
	var edges []float64
	for i := 1; i < bins && len(numbers) > 0; i++ {
		edges = append(edges, numbers[rank(len(numbers), float64(i)/bins)])
	}
	return slices.Compact(edges)
}

// category is a text's hash: whose value it was is nobody's business.
func category(v featurestore.Value) string {
	return fmt.Sprintf("%016x", xxhash.Sum64String(identity(v)))
}

// part is the number of the part that a value falls into; 0 is that of the nulls.
func (b *Baseline) part(c *featurestore.Cell) int {
	switch f, number := c.Value.Number(); {
	case c.Status != featurestore.Present:
		return 0
	case b.Categories != nil:
		return 2 + slices.Index(b.Categories, category(c.Value)) // 1 for any other
	case number:
		at, _ := slices.BinarySearch(b.Edges, f)
		return 1 + at
	default:
		return 1
	}
}

// shares is the share of the cells in each part.
func (b *Baseline) shares(cells []featurestore.Cell) []float64 {
	shares := make([]float64, 2+len(b.Edges)+len(b.Categories))
	for i := range cells {
		shares[b.part(&cells[i])] += 1 / float64(len(cells))
	}
	return shares
}

// PSI is the population stability index: how far values have drifted from the baseline,
// Σ (qᵢ − pᵢ)·ln(qᵢ/pᵢ) over the shares pᵢ of its parts and qᵢ of the values. Numbers are
// cut at the deciles of the baseline, texts and lists into the most frequent ones and the
// rest, and nulls are a part of their own. By custom less than 0.1 is no drift and more than
// 0.25 much. It is 0 when either has no values.
func (b *Baseline) PSI(cells []featurestore.Cell) float64 {
	if b.Rows == 0 || len(cells) == 0 {
		return 0
	}
	q, sum := b.shares(cells), 0.0
	for i := range q {
		was, is := least, max(q[i], least)
		if i < len(b.Shares) { // a baseline that somebody else wrote
			was = max(b.Shares[i], least)
		}
		sum += (is - was) * math.Log(is/was)
	}
	return sum
}
