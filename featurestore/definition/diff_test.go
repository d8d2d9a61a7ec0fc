package definition

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
)

// parseGolden reads a definition of the test data; "" is no catalog.
func parseGolden(t *testing.T, name string) *featurestore.Catalog {
	t.Helper()
	if name == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := Parse([]File{{Name: name, Text: text}})
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		color               bool
	}{
		{"first", "", "diff/before.yaml", false},
		{"changed", "diff/before.yaml", "diff/after.yaml", false},
		{"back", "diff/after.yaml", "diff/before.yaml", false},
		{"color", "diff/before.yaml", "diff/after.yaml", true},
		{"same", "diff/before.yaml", "diff/before.yaml", false},
		{"formats", "valid/full.yaml", "valid/formats.yaml", false},
		{"batch", "valid/full.yaml", "valid/batch.yaml", false},
		{"removed", "valid/full.yaml", "diff/before.yaml", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			changes := Diff(parseGolden(t, c.before), parseGolden(t, c.after))
			var b bytes.Buffer
			if err := Write(&b, changes, c.color); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "diff", c.name+".plan"), b.String())
		})
	}
}

// TestRetentionIsNoNewState: a view's rows stay as they are when history is to end.
func TestRetentionIsNoNewState(t *testing.T) {
	parse := func(text string) *featurestore.Catalog {
		catalog, err := Parse([]File{{Name: "d.yaml", Text: []byte(`
namespace: shop
entities: [{name: user, keys: [{name: user_id, type: int64}]}]
sources:
  - {name: orders, format: json, ` + text + ` event_time: {record: true}, fields: [{name: user_id, type: int64, required: true}]}
views:
  - {name: user, entity: user, source: orders, features: [{name: n, aggregate: count, windows: [1h]}]}
`)}})
		if err != nil {
			t.Fatal(err)
		}
		return catalog
	}
	without, with := parse(""), parse("retention: 400d,")
	for want, changes := range map[string][]Change{"retention: 400d": Diff(without, with), "retention: 400d → none": Diff(with, without)} {
		if len(changes) != 1 || changes[0].Name != "orders" || changes[0].NewState || len(changes[0].Details) != 1 || changes[0].Details[0] != want {
			t.Errorf("%+v, want %q", changes, want)
		}
	}
}

// TestDiffIgnoresWhatApplyFillsIn: versions and generations are not definitions.
func TestDiffIgnoresWhatApplyFillsIn(t *testing.T) {
	before, after := parseGolden(t, "valid/full.yaml"), parseGolden(t, "valid/full.yaml")
	before.Version, before.EffectiveAt = 3, 1
	for i := range before.Views {
		before.Views[i].Generation = 7
	}
	if changes := Diff(before, after); len(changes) > 0 {
		t.Errorf("changes %+v", changes)
	}
}

// TestNewStateFollowsTheFold: what a feature is called or says does not matter to its
// rows, what it keeps does.
func TestNewStateFollowsTheFold(t *testing.T) {
	text, err := os.ReadFile("testdata/diff/before.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"ttl: 30d", "ttl: 31d", false},
		{"description: How many.", "description: Many.", false},
		{"name: spend,", "name: spent,", false},
		{"windows: [1h, 1d]", "windows: [1h, 2d]", true},
		{"max_age: 7d", "max_age: 8d", false},
		{"name: price, type: float64", "name: price, type: float64, required: true", true},
	} {
		if !bytes.Contains(text, []byte(c.from)) {
			t.Fatalf("the test data has no %q", c.from)
		}
		before := parseGolden(t, "diff/before.yaml")
		after, err := Parse([]File{{Name: "after", Text: []byte(strings.ReplaceAll(string(text), c.from, c.to))}})
		if err != nil {
			t.Fatal(err)
		}
		got := false
		for _, change := range Diff(before, after) {
			got = got || change.NewState
		}
		if got != c.want {
			t.Errorf("%q → %q: new state is %v, want %v", c.from, c.to, got, c.want)
		}
	}
}
