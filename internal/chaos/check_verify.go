package chaos

import (
	"context"
	"maps"
	"slices"

	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/online"
)

// manyRows is how many entities of a view are verified where they are too many for all.
const manyRows = 10_000

// checkVerify lets the product's own verification, which folds what history holds, compare
// every value of the views.
func (c *Checker) checkVerify(ctx context.Context, views []*ingest.View, report *Report) error {
	store, err := online.Open(ctx, c.Redis)
	if err != nil {
		return err
	}
	v := maintain.Verifier{Pool: c.Pool, Store: store, Catalog: c.newest()}
	sample := 0
	if c.Sample > 1 {
		sample = manyRows
	}
	for _, view := range views {
		result, err := v.View(ctx, view.View, sample)
		if err != nil {
			return err
		}
		report.Points += result.Points
		for _, reason := range slices.Sorted(maps.Keys(result.Different)) {
			report.problemf(&report.Skewed, result.Different[reason], "view %s: %d rows are not the fold of history: %s, as %+v",
				view.Name, result.Different[reason], reason, result.Differences[0])
		}
		if result.Unchecked > 0 {
			report.problemf(&report.Skewed, result.Unchecked, "view %s: %d rows could not be verified", view.Name, result.Unchecked)
		}
	}
	return nil
}
