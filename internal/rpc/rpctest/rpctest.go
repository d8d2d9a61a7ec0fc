// Package rpctest is what the tests of rpc and of rpc/offline share.
package rpctest

import (
	"testing"

	"github.com/onehop/onehop/featurestore/online"
)

// Stars are definitions of one view v, a count and a latest value by user, without a feature service: tests append theirs.
const Stars = `
namespace: stars
entities: [{name: user, keys: [{name: user_id, type: int64}]}]
sources:
  - {name: s, format: json, event_time: {field: at, unit: us}, fields: [{name: user_id, type: int64, required: true}, {name: stars, type: int64}]}
views:
  - name: v
    entity: user
    source: s
    features: [{name: n, aggregate: count, windows: [lifetime]}, {name: stars, aggregate: latest, field: stars}]
`

// OpenOnline is the store in the Redis at a URL. Its connections are closed when the test ends.
func OpenOnline(t *testing.T, url string) *online.Store {
	t.Helper()
	client, err := online.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := online.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return store
}
