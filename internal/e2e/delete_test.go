package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/internal/cli"
)

const deleteDefinitions = `
namespace: e2e
entities:
  - name: user
    keys: [{name: user_id, type: int64}]
  - name: sku
    keys: [{name: sku, type: string}]
sources:
  - name: orders
    format: json
    event_time: {record: true}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: sku, type: string, required: true}
      - {name: cents, type: int64}
  - name: profiles
    format: json
    tombstone: delete
    event_time: {record: true}
    fields: [{name: user_id, type: int64, key: true, required: true}, {name: cents, type: int64}]
views:
  - {name: by_user, entity: user, source: orders, features: [{name: sum, aggregate: sum, field: cents, windows: [lifetime]}]}
  - {name: by_sku, entity: sku, source: orders, features: [{name: sum, aggregate: sum, field: cents, windows: [lifetime]}]}
  - {name: by_profile, entity: user, source: profiles, features: [{name: sum, aggregate: sum, field: cents, windows: [lifetime]}]}
`

// tool runs a command of the onehop tool.
func (s *stack) tool(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	return s.historyTool(t, append(args, "--redis", s.redis)...)
}

// historyTool runs a command that needs no Redis.
func (s *stack) historyTool(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append(args, "--namespace", s.namespace, "--postgres", s.postgres)
	status = cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	if stderr.Len() > 0 {
		t.Logf("%s: %s", args[0], &stderr)
	}
	return status, stdout.String()
}

// TestDeleteEntity: a user is forgotten while events arrive, and stays so when Redis is filled
// again where the source takes tombstones; elsewhere Kafka brings the user back until the
// user is deleted again.
func TestDeleteEntity(t *testing.T) {
	s := newStack(t)
	s.ownRedis(t)
	s.start(t, deleteDefinitions)
	order := func(user int, sku string) *kgo.Record {
		return &kgo.Record{Value: fmt.Appendf(nil, `{"user_id":%d,"sku":%q,"cents":%d}`, user, sku, user)}
	}
	profile := func(user int) *kgo.Record {
		return &kgo.Record{Key: []byte(strconv.Itoa(user)), Value: fmt.Appendf(nil, `{"cents":%d}`, user)}
	}
	s.onehop.ProduceRecords(t, "orders", order(7, "tea"), order(8, "tea"), order(7, "cup"), order(7, "cup"))
	s.onehop.ProduceRecords(t, "profiles", profile(7), profile(8))
	s.expectSums(t, map[string]string{"by_user": "21 8", "by_sku": "15 14", "by_profile": "7 8"})
	s.expectRows(t, map[string]int{"orders": 4, "profiles": 2})

	type deleted struct {
		Source        string
		Events        int
		RowsDeleted   int `json:"rows_deleted"`
		RowsRewritten int `json:"rows_rewritten"`
		Tombstone     bool
	}
	remove := func(flags ...string) (list []deleted) {
		t.Helper()
		status, out := s.tool(t, append([]string{"delete-entity", "user", "7", "--json", "--wait", "20s", "--kafka", strings.Join(s.kafka, ","), "--redis", s.redis}, flags...)...)
		if err := json.Unmarshal([]byte(out), &list); err != nil || status != 0 || len(list) != 2 {
			t.Fatalf("exit status %d, %v: %s", status, err, out)
		}
		return list
	}
	if got, want := fmt.Sprint(remove("--dry-run")), "[{orders 3 2 1 false} {profiles 1 1 0 true}]"; got != want {
		t.Errorf("dry: %s, want %s", got, want)
	}
	// Of profiles the tombstone, which ingest has folded, has deleted the row.
	if got, want := fmt.Sprint(remove()), "[{orders 3 2 1 false} {profiles 2 0 0 true}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	s.expectSums(t, map[string]string{"by_user": "-1 8", "by_sku": "8 -1", "by_profile": "-1 8"})
	s.expectRows(t, map[string]int{"orders": 1, "profiles": 1})
	if status, out := s.tool(t, "verify", "--sample", "0", "--redis", s.redis); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
	s.flushRedis(t)
	s.expectSums(t, map[string]string{"by_user": "21 8", "by_profile": "-1 8"})
	if got := remove()[0]; got.Events != 0 || got.RowsDeleted != 1 {
		t.Errorf("after a refill from Kafka: %+v", got)
	}
	s.expectSums(t, map[string]string{"by_user": "-1 8", "by_profile": "-1 8"})
	s.onehop.ProduceRecords(t, "orders", order(7, "tea")) // the user begins anew
	s.expectSums(t, map[string]string{"by_user": "7 8"})
}
