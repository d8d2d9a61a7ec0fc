package fold

import (
	"cmp"
	"math"
	"math/big"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// oracle computes a column from all events, by the words of the definition.
func oracle(view *featurestore.View, c featurestore.Column, source *featurestore.Source, events []featurestore.Event, at int64) any {
	f := view.Features[c.Feature]
	start := int64(math.MinInt64)
	if c.Window >= 0 && f.Windows[c.Window].Length != featurestore.Lifetime {
		w := f.Windows[c.Window]
		hop := w.Hop.Microseconds()
		start = (at - w.Length.Microseconds()) / max(hop, 1) * max(hop, 1)
	}
	sorted := slices.Clone(events)
	slices.SortFunc(sorted, func(a, b featurestore.Event) int { return a.Compare(b.Position) })
	if f.Where != "" {
		sorted = slices.DeleteFunc(sorted, func(e featurestore.Event) bool { return !isGood(&e) })
	}
	field := source.Field(f.Field)
	switch {
	case f.Aggregate == "latest" || f.Aggregate == "first":
		if len(sorted) == 0 {
			return featurestore.Value{}
		}
		if f.Aggregate == "first" {
			return sorted[0].Values[field]
		}
		return sorted[len(sorted)-1].Values[field]
	case f.HalfLife > 0:
		return oracleDecayed(&f, field, sorted, at)
	}
	if f.Exact > 0 {
		start = at - f.Windows[c.Window].Length.Microseconds()
		sorted = slices.DeleteFunc(sorted, func(e featurestore.Event) bool { return valueOf(&e, field).IsNull() })
		if n := len(sorted) - f.Exact; n > 0 && sorted[n-1].Time >= start {
			return featurestore.Value{} // overflow has no value
		}
	}
	var values []featurestore.Value
	for _, e := range sorted {
		if e.Time < start || e.Time >= at {
			continue
		}
		if v := valueOf(&e, field); !v.IsNull() {
			values = append(values, *v)
		}
	}
	return oracleAggregate(f, values)
}

func oracleDecayed(f *featurestore.Feature, field int, events []featurestore.Event, at int64) any {
	total, some := 0.0, f.Aggregate == "decayed_count"
	for i := range events {
		v := valueOf(&events[i], field)
		if v.IsNull() {
			continue
		}
		x := 1.0
		if f.Aggregate == "decayed_sum" {
			x, _ = v.Number()
		}
		total += x * math.Exp2(-float64(at-events[i].Time)/float64(f.HalfLife.Microseconds()))
		some = true
	}
	if !some {
		return featurestore.Value{}
	}
	return total
}

func oracleAggregate(f featurestore.Feature, values []featurestore.Value) any {
	number := func(v featurestore.Value) float64 { n, _ := v.Number(); return n }
	byNumber := func(a, b featurestore.Value) int {
		if a.Type == featurestore.Int64 {
			return cmp.Compare(a.Int(), b.Int())
		}
		return cmp.Compare(a.Float(), b.Float())
	}
	switch {
	case f.Aggregate == "count":
		return featurestore.IntValue(int64(len(values)))
	case f.Aggregate == "distinct":
		different := map[string]bool{}
		for _, v := range values {
			different[v.String()] = true
		}
		return featurestore.IntValue(int64(len(different)))
	case f.Aggregate == "last_n":
		slices.Reverse(values)
		elem := featurestore.Int64
		if f.Field == "title" {
			elem = featurestore.String
		}
		return featurestore.ListValue(elem, values[:min(len(values), f.N)])
	case len(values) == 0:
		return featurestore.Value{}
	case f.Aggregate == "min":
		return slices.MinFunc(values, byNumber)
	case f.Aggregate == "max":
		return slices.MaxFunc(values, byNumber)
	case f.Aggregate == "quantile":
		slices.SortFunc(values, byNumber)
		return number(values[int(f.Q*float64(len(values)-1))])
	case f.Of != "":
		return oracleVariance(&f, values)
	}
	var total wide
	sum := 0.0
	for _, v := range values {
		if v.Type == featurestore.Int64 {
			total = total.add(wideOf(v.Int()))
		}
		sum += number(v)
	}
	if f.Aggregate == "mean" && values[0].Type == featurestore.Int64 {
		return total.float() / float64(len(values))
	}
	if f.Aggregate == "mean" {
		return sum / float64(len(values))
	}
	if f.Type == featurestore.Float64 {
		return sum
	}
	if v, ok := total.int(); ok {
		return featurestore.IntValue(v)
	}
	return featurestore.Value{} // overflow has no value
}

// oracleVariance is the variance in two passes, with more digits than the fold has.
func oracleVariance(f *featurestore.Feature, values []featurestore.Value) any {
	degrees := len(values)
	if f.Of == featurestore.Sample {
		degrees--
	}
	if degrees == 0 {
		return featurestore.Value{}
	}
	mean, squares := new(big.Float).SetPrec(300), new(big.Float).SetPrec(300)
	exact := func(v featurestore.Value) *big.Float {
		if v.Type == featurestore.Int64 {
			return new(big.Float).SetPrec(300).SetInt64(v.Int())
		}
		return new(big.Float).SetPrec(300).SetFloat64(v.Float())
	}
	for _, v := range values {
		mean.Add(mean, exact(v))
	}
	mean.Quo(mean, big.NewFloat(float64(len(values))))
	for _, v := range values {
		d := new(big.Float).Sub(exact(v), mean)
		squares.Add(squares, d.Mul(d, d))
	}
	variance, _ := squares.Quo(squares, big.NewFloat(float64(degrees))).Float64()
	if f.Aggregate == "stddev" {
		return math.Sqrt(variance)
	}
	return variance
}

// agrees compares exactly, but for what is computed with floats. Sums and means must be
// within 1e-12 of Σ|x|, and the oracle's own naive sum is as far off as that; a variance
// within 1e-12 of the greatest square; a quantile within its bound of 1.6 %.
func agrees(f *featurestore.Feature, got featurestore.Value, want any, events []featurestore.Event) bool {
	switch want := want.(type) {
	case featurestore.Value:
		return got.Equal(want) || got.Type == want.Type && got.Type == featurestore.Float64 && got.Float() == want.Float() // 0 is −0
	case float64:
		sum, greatest := magnitude(f, events)
		x := got.Float()
		switch {
		case got.IsNull():
			return false
		case f.Aggregate == "stddev":
			return math.Abs(x*x-want*want) <= 1e-12*greatest*greatest
		case f.Aggregate == "var":
			return math.Abs(x-want) <= 1e-12*greatest*greatest
		case f.Aggregate == "quantile" && f.Exact == 0:
			return math.Abs(x-want) <= 0.016*math.Abs(want)+math.SmallestNonzeroFloat64*(1<<52)
		default:
			return math.Abs(x-want) <= 1e-12*sum
		}
	}
	return false
}

// magnitude is Σ|x| and the greatest |x| of the values of a feature's field.
func magnitude(f *featurestore.Feature, events []featurestore.Event) (sum, greatest float64) {
	field := testSource().Field(f.Field)
	for i := range events {
		x := 1.0
		if field >= 0 && f.Aggregate != "decayed_count" {
			x, _ = events[i].Values[field].Number()
		}
		sum += math.Abs(x)
		greatest = max(greatest, math.Abs(x))
	}
	return sum, greatest
}
