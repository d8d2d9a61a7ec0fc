package table_test

import (
	"fmt"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training/table"
)

func ExampleColumns() {
	p := &plan.Plan{Entities: []*featurestore.Entity{{Name: "user", Keys: []featurestore.JoinKey{{Name: "user_id", Type: featurestore.Int64}}}}}
	columns := table.Columns(p, "")
	fmt.Println(columns["user_id"], columns["event_time"])
	// Output: int64 timestamp[us, tz=UTC]
}
