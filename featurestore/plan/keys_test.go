package plan_test

import (
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
)

// TestRowsOfKeysCountFromOne in what a person reads.
func TestRowsOfKeysCountFromOne(t *testing.T) {
	shop := &featurestore.Entity{Name: "shop", Keys: []featurestore.JoinKey{{Name: "shop_id", Type: featurestore.String}}}
	err := new(plan.Keys).Set(shop, []plan.KeyColumn{{Strings: []string{"a", ""}}})
	if err == nil || err.Error() != `row 2: join key "shop_id" is empty` {
		t.Error(err)
	}
}
