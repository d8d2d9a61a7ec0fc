package definition_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/onehop/onehop/featurestore/definition"
)

const shop = `
namespace: shop
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
sources:
  - name: sales
    format: json
    event_time: {field: at, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: price, type: float64}
views:
  - name: user_sales
    entity: user
    source: sales
    features:
      - {name: spend, aggregate: sum, field: price, windows: [1h, 30d]}
`

func ExampleParse() {
	catalog, err := definition.Parse([]definition.File{{Name: "shop.yaml", Text: []byte(shop)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, column := range catalog.View("user_sales").Columns() {
		fmt.Println(column.Name, column.Type)
	}
	// Output:
	// spend_1h float64
	// spend_30d float64
}

func ExampleErrors() {
	_, err := definition.Parse([]definition.File{{Name: "shop.yaml", Text: []byte(shop + `
services:
  - {name: ranker, features: [user_sales.spend_1d], staleness: 1s}
models: [{name: cart, service: rankr, candidates: user}]
`)}})
	var mistakes *definition.Errors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes.Mistakes {
			fmt.Printf("line %d: %s\n", m.Line, m.Message)
		}
	}
	// Output:
	// line 20: feature view "user_sales" has no feature "spend_1d"; did you mean "spend_1h"?
	// line 20: unknown key "staleness"; there are description, features, log, name
	// line 21: there is no feature service "rankr"; did you mean "ranker"?
}

func ExampleDiff() {
	catalog, err := definition.Parse([]definition.File{{Name: "shop.yaml", Text: []byte(shop)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	changes := definition.Diff(nil, catalog)
	if err := definition.Write(os.Stdout, changes[2:], false); err != nil {
		fmt.Println(err)
	}
	// Output:
	// + create feature view user_sales (new generation)
	//     entity: user
	//     source: sales
	//     join_keys: user_id
	//     + feature spend (sum of price over 1h, 30d)
	//     a row takes at most 4.7 kB of the 65.5 kB allowed
	//
	// Plan: 1 to create, 0 to change, 0 to delete. 1 view needs a new generation: it is filled from Kafka before it is served.
}
