package cases

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCases runs the files of testdata: what definitions mean, example by example.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		suite, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for i := range suite.Cases {
			c := &suite.Cases[i]
			t.Run(filepath.Base(file)+"/"+c.Name, func(t *testing.T) {
				failures, err := suite.Run(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range failures {
					t.Errorf("%s:%d: %s", file, f.Line, f.Message)
				}
			})
		}
	}
}

func parsed(text []byte) (*Suite, error) {
	s := &Suite{Name: "shop.yaml"}
	var err error
	s.Catalog, err = parse(s.Name, text, &s.Cases)
	return s, err
}

const shop = `
definitions:
  namespace: shop
  entities: [{name: user, keys: [{name: user_id, type: int64}]}]
  sources: [{name: s, format: json, event_time: {field: at, unit: s}, fields: [{name: user_id, type: int64, required: true}, {name: x, type: float64}]}]
  on_demand: [{name: d, request: [{name: hour, type: int64}], features: [{name: late, expression: "request.hour > 21"}]}]
  views:
    - {name: v, entity: user, source: s, features: [{name: n, aggregate: count, windows: [1h]}, {name: x, aggregate: latest, field: x}]}
`

// TestFailuresAreTold: whatever is not as expected is told, and where.
func TestFailuresAreTold(t *testing.T) {
	suite, err := parsed([]byte(shop + `
cases:
  - name: wrong in every way
    events:
      - {time: 2026-01-01T10:00:00Z, value: {user_id: 7, x: 2.5}}
      - {time: 2026-01-01T10:00:00Z, value: {user_id: text}}
      - {time: 2026-01-01T10:00:00Z, value: {x: 2}}
    rejected: [{event: 1, reason: any}, {event: 2, reason: is too small}]
    counts: {v: {folded: 3}}
    reads:
      - at: 2026-01-01T10:00:01Z
        of: {user_id: 7}
        expect:
          v.n_1h: 2
          v.x: {status: "NULL", value: 2.5}
      - {at: 2026-01-01T10:00:01Z, of: {user_id: 8}, expect: {v.x: 2}}
      - {at: 2026-01-01T10:00:01Z, of: {user_id: 7}, expect: {v.x: null}}
      - {at: 2026-01-01T10:00:01Z, of: {user_id: 7}, expect: {v.x: 2.5000001}}
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := suite.Run(t.Context(), &suite.Cases[0])
	if err != nil {
		t.Fatal(err)
	}
	want := []Failure{
		{16, `event 1 was accepted; it was to be rejected`},
		{16, `event 2 was rejected because: field "user_id" is a string; int64 is needed; the reason was to say "is too small"`},
		{15, `event 3 was rejected: required field "user_id" is missing or null`},
		{17, `view v: 1 events are folded, want 3`},
		{22, `v.n_1h of user_id 7 at 2026-01-01T10:00:01Z: got 1, want 2`},
		{23, `v.x of user_id 7 at 2026-01-01T10:00:01Z: got 2.5, want 2.5 NULL`},
		{24, `v.x of user_id 8 at 2026-01-01T10:00:01Z: got NOT_FOUND, want 2`},
		{25, `v.x of user_id 7 at 2026-01-01T10:00:01Z: got 2.5, want NULL`},
		{26, `v.x of user_id 7 at 2026-01-01T10:00:01Z: got 2.5, want 2.5000001`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestCasesThatAreWrong: a case that does not make sense is an error, not a failure, and says
// where it stands.
func TestCasesThatAreWrong(t *testing.T) {
	const read = "cases: [{name: a, reads:\n[{at: 2026-01-01T10:00:01Z, of: {user_id: "
	for _, c := range [][2]string{
		{"", `shop.yaml:1: the file is empty; it must have "definitions" and "cases"`},
		{"# nothing yet\n", `shop.yaml:1: the file is empty`},
		{"---\n", `shop.yaml:1: the file is empty`},
		{"cases: [{name: a}]", `shop.yaml:1: "definitions" is missing`},
		{"cases: [{name: a}]\ndefinitions: {a: b", `shop.yaml:2:14: `},
		{shop, "shop.yaml:1: the file has no cases"},
		{"a\n", `shop.yaml:1:1: string was used where mapping is expected`},
		{shop + "cases: 7", `shop.yaml:9:8: int was used where sequence is expected`},
		{shop + "cases: [\n7]", `shop.yaml:10:1: int was used where mapping is expected`},
		{shop + "cases:\n- {name: a, event: []}", `shop.yaml:10:13: unknown field "event"`},
		{shop + "cases:\n- name: {a: b}", `shop.yaml:10:9: "{" is not text`},
		{"\ndefinitions: [nowhere]\ncases: [{name: a}]", "shop.yaml:2:14: definitions: "},
		{"\ndefinitions: []\ncases: [{name: a}]", `shop.yaml:2:14: "definitions" names no file`},
		{shop + "cases:\n- {name: a}", `shop.yaml:10: case "a": it checks nothing`},
		{shop + "cases: [{name: a}]\n---\ncases: [{name: b}]", "shop.yaml:10:1: a file is one YAML document"},
		{strings.Replace(shop, "latest", "latset", 1) + "cases: [{name: a}]", `shop.yaml:8:118: unknown aggregate "latset"`},
		{shop + "cases: [{name: &a x}, {name: *a}]", "shop.yaml:9:30: aliases are not taken"},
		{shop + "cases: " + strings.Repeat("[", 1000), "shop.yaml:9:72: this is nested too deeply"},

		{shop + "cases: [{name: a, events: [\n{value: {}}]}]", `shop.yaml:10: case "a": event 1: it has neither "time"`},
		{shop + "cases:\n- name: a\n  events:\n  - time: noon", `shop.yaml:12:11: "noon" is no time such as`},
		{shop + "cases:\n- name: a\n  events:\n  - time: [1]", `shop.yaml:12:11: "[" is no time such as`},
		{shop + "cases:\n- name: a\n  events:\n  - time:\n", `shop.yaml:12:`},
		{shop + "cases:\n- name: a\n  events:\n  -\n", `shop.yaml:10: case "a": event 1: it has neither`},
		{shop + "cases:\n-\n", `shop.yaml:1: case "": it checks nothing`},
		{shop + "cases:\n- name: a\n  events:\n  - {source: z,\n     time: 2026-01-01T10:00:01Z}", `shop.yaml:12: case "a": event 1: there is no source "z"`},
		{shop + "cases:\n- name: a\n  events:\n  - partition: x", `shop.yaml:12:16: "x" is not a whole number`},
		{shop + "cases:\n- name: a\n  events:\n  - time: 2026-01-01T10:00:01.5Z\n    value: {user_id: 1}", `shop.yaml:12: case "a": event 1: "time" 2026-01-01T10:00:01.5Z is not a whole number of s`},

		{shop + "cases: [{name: a, reads: [\n{of: {user_id: 1}}]}]", `shop.yaml:10: case "a": read 1: "at", the time of the read, is missing`},
		{shop + read + "1}, expect: [1]}]}]", `shop.yaml:10:55: "expect" must be a mapping from columns to values`},
		{shop + read + "1}, expect:\n {v.x: {status: PRESNT}}}]}]", `shop.yaml:11:8: v.x: unknown status "PRESNT"`},
		{shop + read + "1}, expect:\n {v.x: {stats: NULL}}}]}]", `shop.yaml:11:9: unknown field "stats"`},
		{shop + read + "1}, expect:\n {v.x: {status: [1]}}}]}]", `shop.yaml:11:17: "[" is not text`},
		{shop + strings.Replace(read, "user_id", "user", 1) + "1}, expect: {v.x: 1}}]}]", `shop.yaml:10: case "a": read 1: "v.x": "of" lacks "user_id"`},
		{shop + read + "a}, expect:\n {v.x: 1}}]}]", `shop.yaml:11: case "a": read 1: "v.x": join key "user_id" must be a whole number; it is a`},
		{shop + read + "1}, expect:\n {w.x: 1}}]}]", `shop.yaml:11: case "a": read 1: "w.x": there is no feature view "w"`},
		{shop + read + "1}, expect:\n {v.y: 1}}]}]", `shop.yaml:11: case "a": read 1: "v.y": view "v" has no feature "y"`},
		{shop + read + "1, item_id: 2}, expect: {v.x: 1}}]}]", `shop.yaml:10: case "a": read 1: "of" has "item_id", which is no join key of what is expected`},
		{shop + read + "1}, request: {hour: 1}, expect: {v.x: 1}}]}]", `shop.yaml:10: case "a": read 1: "request" has "hour", from which nothing`},
		{shop + read + "1}, expect: {d.late: true}}]}]", `shop.yaml:10: case "a": read 1: "d.late": "request" lacks "hour", from which it is computed`},
		{shop + read + "1}, request: {hour: 1.5}, expect: {d.late: true}}]}]", `shop.yaml:10: case "a": read 1: "d.late": request field "hour" must be of type int64; it is 1.5`},
		{shop + read + "1}, expect: {d.x: true}}]}]", `shop.yaml:10: case "a": read 1: "d.x": on-demand group "d" has no feature "x"`},

		{shop + "cases: [{name: a, counts:\n {v:\n {lost: 1}}}]", `shop.yaml:11: case "a": counts: view "v": "lost" is none of folded`},
		{shop + "cases: [{name: a, counts:\n {w:\n {late: 1}}}]", `shop.yaml:11: case "a": counts: there is no view "w"`},
		{shop + "cases: [{name: a, counts:\n {v: 1}}]", `shop.yaml:10:3: the counts of a view must be a mapping`},
		{shop + "cases: [{name: a, counts:\n 1}]", `shop.yaml:10:2: "counts" must be a mapping`},
		{shop + "cases: [{name: a, counts: {v:\n {late: x}}}]", `shop.yaml:10:9: "x" is not a whole number`},
		{shop + "cases: [{name: a, rejected: [\n1]}]", `shop.yaml:10:1: int was used where mapping is expected`},
	} {
		suite, err := parsed([]byte(c[0]))
		for i := 0; err == nil && i < len(suite.Cases); i++ {
			_, err = suite.Run(t.Context(), &suite.Cases[i])
		}
		if err == nil || !strings.HasPrefix(err.Error(), c[1]) {
			t.Errorf("%s\ngot %v, want %q", c[0][max(0, len(c[0])-90):], err, c[1])
		}
	}
}

// TestTimesAreTakenAsGiven: the epoch is a time; that no event can have it is said.
func TestTimesAreTakenAsGiven(t *testing.T) {
	suite, err := parsed([]byte(shop + `
cases:
  - name: epoch
    events:
      - {time: 1970-01-01T00:00:00Z, value: {user_id: 7, x: 2.5}}
      - {time: 1970-01-01T00:00:01Z, at: 1970-01-01T00:00:00Z, value: {user_id: 7, x: 2.5}}
    rejected: [{event: 1, reason: "field \"at\", the event time, is 0 s, which is no time after 1970"}]
    reads:
      - {at: 1970-01-01T00:00:00Z, of: {user_id: 7}, expect: {v.x: 2.5}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if failures, err := suite.Run(t.Context(), &suite.Cases[0]); err != nil || len(failures) > 0 {
		t.Error(failures, err)
	}
}

// TestLargeValuesAreShortened: a message shows how a value starts and how large it is.
func TestLargeValuesAreShortened(t *testing.T) {
	large, list := strings.Repeat("x", 1<<14), strings.Repeat("1, ", 500)
	suite, err := parsed([]byte(strings.Replace(strings.Replace(shop, "x, type: float64", "x, type: string, max_bytes: 16384", 1),
		"field: x}", "field: x}, {name: l, aggregate: last_n, field: x, n: 2}", 1) + `
cases:
  - name: large
    events:
      - {time: 2026-01-01T10:00:00Z, value: {user_id: 7, x: ` + large + `}}
    reads:
      - at: 2026-01-01T10:00:01Z
        of: {user_id: 7}
        expect:
          v.x: ` + large + `y
          v.l: [` + list + `]
`))
	if err != nil {
		t.Fatal(err)
	}
	failures, err := suite.Run(t.Context(), &suite.Cases[0])
	if err != nil || len(failures) != 2 {
		t.Fatalf("%d failures, %v", len(failures), err)
	}
	for i, want := range [][2]string{{"x… (16384 bytes), want x", "x… (16385 bytes)"}, {"x… (1 elements), want [1 1", "1 1… (500 elements)"}} {
		got := failures[i].Message
		if len(got) > 600 || !strings.Contains(got, want[0]) || !strings.HasSuffix(got, want[1]) {
			t.Errorf("%d bytes, want %q and %q: %.600s", len(got), want[0], want[1], got)
		}
	}
}

func TestFilesAreBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(name, make([]byte, maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
}

// TestDefinitionsInBraces: mistakes are told where they stand, and numbers are those of YAML
// 1.2 and JSON.
func TestDefinitionsInBraces(t *testing.T) {
	const file = `definitions: {namespace: x,
  entities: [{name: user, keys: [{name: user_id, type: int64}]}], # "ä"
  sources: [{name: s, format: json, event_time: {field: at, unit: us}, fields: [
    {name: user_id, type: int64, default: 7}, {name: f, type: float64}, {name: t, type: string}]}],
  views: [{name: v, entity: user, source: s, features: [
    {name: f, aggregate: latest, field: f}, {name: t, aggregate: latest, field: t}]}]}
cases:
  - name: numbers
    events: [{time: 2026-01-01T00:00:00Z, value: {f: 1e3, t: "1e3"}}]
    reads: [{at: 2026-01-01T00:00:01Z, of: {user_id: 7}, expect: {v.f: 10e2, v.t: "1e3"}}]
`
	suite, err := parsed([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if failures, err := suite.Run(t.Context(), &suite.Cases[0]); err != nil || len(failures) > 0 {
		t.Error(failures, err)
	}
	_, err = parsed([]byte(strings.Replace(file, "latest, field: t", "newest, field: t", 1)))
	if err == nil || !strings.Contains(err.Error(), `:6:66: unknown aggregate "newest"`) {
		t.Error(err)
	}
}
