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
  sources:
    - {name: s, format: json, event_time: {field: at, unit: s}, fields: [{name: user_id, type: int64, required: true}, {name: x, type: float64}]}
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
		{0, `event 1 was accepted; it was to be rejected`},
		{0, `event 2 was rejected because: field "user_id" is a string; int64 is needed; the reason was to say "is too small"`},
		{0, `event 3 was rejected: required field "user_id" is missing or null`},
		{0, `view v: 1 events are folded, want 3`},
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

// TestCasesThatAreWrong: a case that does not make sense is an error, not a failure.
func TestCasesThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"cases: [{name: a}]":                   `"definitions" is missing`,
		shop:                                   "has no cases",
		shop + "cases: [{name: a, event: []}]": "event",
		"definitions: [nowhere]\ncases: [{name: a}]":                                                         "nowhere",
		shop + "cases: [{name: a}]":                                                                          "checks nothing",
		shop + "cases: [{name: a, reads: [{expect: {v.x: {status: PRESNT}}}]}]":                              "unknown status",
		shop + "cases: [{name: a}]\n---\ncases: [{name: b}]":                                                 "a file is one YAML document",
		strings.Replace(shop, "latest", "latset", 1) + "cases: [{name: a}]":                                  `shop.yaml:8:118: unknown aggregate "latset"`,
		shop + "cases: [{name: &a x}, {name: *a}]":                                                           "aliases are not taken",
		shop + "cases: " + strings.Repeat("[", 1000):                                                         "nested too deeply",
		"definitions: []\ncases: [{name: a}]":                                                                "names no file",
		shop + "cases: [{name: a, events: [{value: {}}]}]":                                                   "neither \"time\"",
		shop + "cases: [{name: a, events: [{time: noon}]}]":                                                  "is no time",
		shop + "cases: [{name: a, reads: [{of: {user_id: 1}}]}]":                                             `"at", the time of the read, is missing`,
		shop + "cases: [{name: a, reads: [{at: 2026-01-01T10:00:01Z, of: {user: 1}, expect: {v.x: 1}}]}]":    "lacks \"user_id\"",
		shop + "cases: [{name: a, reads: [{at: 2026-01-01T10:00:01Z, of: {user_id: a}, expect: {v.x: 1}}]}]": "must be a whole number",
		shop + "cases: [{name: a, reads: [{at: 2026-01-01T10:00:01Z, of: {user_id: 1}, expect: {w.x: 1}}]}]": "no view \"w\"",
		shop + "cases: [{name: a, reads: [{at: 2026-01-01T10:00:01Z, of: {user_id: 1}, expect: {v.y: 1}}]}]": "no feature \"y\"",
		shop + "cases: [{name: a, counts: {v: {lost: 1}}}]":                                                  "none of folded",
		shop + "cases: [{name: a, events: [{source: z, time: 2026-01-01T10:00:01Z}]}]":                       "no source \"z\"",
		shop + "cases: [{name: a, events: [{time: 2026-01-01T10:00:01.5Z, value: {user_id: 1}}]}]":           "whole number of s",
	} {
		suite, err := parsed([]byte(text))
		for i := 0; err == nil && i < len(suite.Cases); i++ {
			_, err = suite.Run(t.Context(), &suite.Cases[i])
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want %q", text[max(0, len(text)-90):], err, want)
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
