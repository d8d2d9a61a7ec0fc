package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/plan"
)

const definitions = `
namespace: test
entities: [{name: user, keys: [{name: user_id, type: int64}]}, {name: item, keys: [{name: item_id, type: int64}]}]
sources:
  - name: s
    format: json
    event_time: {field: at, unit: us}
    fields: [{name: user_id, type: int64, required: true}, {name: item_id, type: int64, required: true}, {name: x, type: int64}]
views:
  - {name: u, entity: user, source: s, features: [{name: n, aggregate: count, windows: [1h]}, {name: x, aggregate: latest, field: x}]}
  - {name: i, entity: item, source: s, features: [{name: n, aggregate: count, windows: [1h]}, {name: x, aggregate: latest, field: x}]}
on_demand:
  - name: m
    request: [{name: k, type: int64}]
    features:
      - {name: sum, expression: i.x + u.x}
      - {name: known, expression: "u.x == null ? 7 : u.x"}
      - {name: more, expression: request.k + 1}
      - {name: ratio, expression: request.k / u.x}
`

func compile(t *testing.T, names ...string) (*plan.Plan, error) {
	t.Helper()
	catalog, err := definition.Parse([]definition.File{{Name: "d.yaml", Text: []byte(definitions)}})
	if err != nil {
		t.Fatal(err)
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := plan.Expand(catalog, names)
	if err != nil {
		return nil, err
	}
	return plan.Compile(catalog, programs, refs)
}

// A row has the cells of each view, those that nobody asked for too, and then what is computed.
func TestRowsOfAPlan(t *testing.T) {
	p, err := compile(t, "m.sum", "u.n_1h", "i.x", "m.more", "m.known")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range p.Views {
		var columns []string
		for _, c := range v.Columns {
			columns = append(columns, c.Name)
		}
		got = append(got, fmt.Sprintf("%s of %s from %d: %s", v.Name, p.Entities[v.Entity].Name, v.First, strings.Join(columns, " ")))
	}
	for _, c := range p.Columns {
		entity, one := p.EntityOf(&c)
		got = append(got, fmt.Sprintf("%s in %d, of view %d, of entity %d %v", c.Ref, c.Cell, c.View, entity, one))
	}
	want := []string{
		"i of item from 0: x", "u of user from 1: x n_1h",
		"m.sum in 3, of view -1, of entity 0 false", "u.n_1h in 2, of view 1, of entity 1 true", "i.x in 0, of view 0, of entity 0 true",
		"m.more in 4, of view -1, of entity 0 false", "m.known in 5, of view -1, of entity 1 true",
	}
	if !slices.Equal(got, want) || p.Cells != 6 || len(p.Request) != 1 || p.Request[0].For.String() != "m.more" {
		t.Errorf("%d cells, request %v\n%s", p.Cells, p.Request, strings.Join(got, "\n"))
	}
	for name, says := range map[string]string{"m.x": `on-demand group "m" has no feature "x"`, "w.x": "no feature view", "w.*": "no feature view", "u.y": `no feature "y"`} {
		if _, err := compile(t, name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", name, err, says)
		}
	}
	if _, err := compile(t, "m.sum", "m.*"); err == nil || !strings.Contains(err.Error(), `"m.sum" is asked for twice`) {
		t.Error(err)
	}
}

// What is computed has the statuses and times that its inputs make.
func TestCompute(t *testing.T) {
	p, err := compile(t, "m.sum", "m.known", "m.more", "m.ratio")
	if err != nil {
		t.Fatal(err)
	}
	computer := p.Computer()
	cell := func(status featurestore.Status, x, at int64) featurestore.Cell {
		c := featurestore.Cell{Status: status, EventTime: at}
		if status == featurestore.Present || status == featurestore.Stale {
			c.Value = featurestore.IntValue(x)
		}
		return c
	}
	for _, c := range []struct {
		item, user featurestore.Cell
		want       string
	}{
		{cell(featurestore.Present, 1, 10), cell(featurestore.Present, 2, 5), "3 PRESENT 10, 2 PRESENT 5, 9 PRESENT 0, 4 PRESENT 5"},
		{cell(featurestore.Present, 1, 10), cell(featurestore.Null, 0, 20), "null NULL 20, 7 PRESENT 20, 9 PRESENT 0, null NULL 20"},
		{cell(featurestore.NotFound, 0, 0), cell(featurestore.Expired, 0, 3), "null NULL 3, 7 PRESENT 3, 9 PRESENT 0, null NULL 3"},
		{cell(featurestore.Overflow, 0, 10), cell(featurestore.Present, 2, 5), "null OVERFLOW 10, 2 PRESENT 5, 9 PRESENT 0, 4 PRESENT 5"},
		{cell(featurestore.Null, 0, 10), cell(featurestore.Overflow, 0, 5), "null OVERFLOW 10, null OVERFLOW 5, 9 PRESENT 0, null OVERFLOW 5"},
		{cell(featurestore.Stale, 1, 10), cell(featurestore.Stale, 0, 5), "1 STALE 10, 0 STALE 5, 9 PRESENT 0, null FILLING 5"},
		{cell(featurestore.Stale, 1, 10), cell(featurestore.Filling, 0, 0), "null FILLING 10, null FILLING 0, 9 PRESENT 0, null FILLING 0"},
	} {
		cells := make([]featurestore.Cell, p.Cells)
		cells[p.Views[0].First], cells[p.Views[1].First] = c.item, c.user
		computer.Compute(cells, []featurestore.Value{featurestore.IntValue(8)})
		var got []string
		for _, column := range p.Columns {
			of := &cells[column.Cell]
			got = append(got, fmt.Sprint(of.Value, " ", of.Status, " ", of.EventTime))
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("of %v and %v:\n%s, want\n%s", c.item, c.user, text, c.want)
		}
	}
}
