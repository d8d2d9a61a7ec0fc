package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestStats: of today's values, beside a training set that has the same and one that has
// others.
func TestStats(t *testing.T) {
	s := newShop(t)
	s.write(t, "same.csv", "user.n_lifetime,user.last\n3,\n1,7\n")
	s.write(t, "other.csv", "user.n_lifetime\n900\n901\n")
	stat := func(args ...string) string {
		return mustRun(t, append(append([]string{"stats", "--service", "both"}, args...), s.flags...)...)
	}
	var stats []struct {
		Feature               string
		Rows, Nulls, Distinct int
		PSI                   *float64
		Numbers               *struct{ Mean, Min, Max float64 }
	}
	if err := json.Unmarshal([]byte(stat("--json", "--days", "2", "--reference", s.file("same.csv"))), &stats); err != nil {
		t.Fatal(err)
	}
	if len(stats) != 6 { // three features, two times
		t.Fatalf("%+v", stats)
	}
	// User 1 has three orders, the newest without an amount; user 2 has one, of 7.
	count, last := stats[1], stats[5]
	if count.Feature != "user.n_lifetime" || count.Rows != 2 || count.Numbers.Mean != 2 || count.Numbers.Max != 3 || *count.PSI != 0 {
		t.Errorf("%+v", count)
	}
	if last.Feature != "user.last" || last.Nulls != 1 || last.Distinct != 1 || last.Numbers.Min != 7 || *last.PSI != 0 {
		t.Errorf("%+v", last)
	}
	if stats[0].PSI != nil || stats[3].PSI != nil {
		t.Error("only today's values are compared, and no lists")
	}
	text := stat("--reference", s.file("other.csv"))
	if lines := strings.Split(text, "\n"); !strings.HasPrefix(lines[0], "feature") || !strings.HasSuffix(strings.TrimSpace(lines[0]), "PSI") || len(lines) < 4 {
		t.Errorf("%s", text)
	}
	code, out, told := run(t, append([]string{"stats", "--features", "match.*,user.last"}, s.flags...)...)
	if code != 0 || !strings.Contains(out, "match.more ") || strings.Contains(out, "match.both") || !strings.Contains(told, "match.both is left out") || !strings.Contains(told, "match.late is left out") {
		t.Errorf("%d\n%s%s", code, out, told)
	}
	// A baseline that is kept is the reference of later runs, and a new one takes its place.
	kept := func() string {
		return strings.Join(strings.Fields(stat("--json")), " ")
	}
	if got := kept(); strings.Contains(got, "psi") {
		t.Errorf("no baseline was kept: %s", got)
	}
	stat("--reference", s.file("same.csv"), "--keep")
	if got := kept(); strings.Count(got, `"psi": 0 `) != 2 {
		t.Errorf("with the same as baseline: %s", got)
	}
	stat("--reference", s.file("other.csv"), "--keep")
	if got := kept(); strings.Count(got, `"psi"`) != 1 || strings.Contains(got, `"psi": 0 `) {
		t.Errorf("with others as baseline: %s", got)
	}
	code, _, told = run(t, append([]string{"stats", "--features", "user.last", "--reference", s.file("same.csv"), "--keep"}, s.flags...)...)
	if code == 0 || !strings.Contains(told, "--keep needs --reference and --service") {
		t.Errorf("%d %s", code, told)
	}
	for file, want := range map[string]string{
		"user.n_lifetime\n":                   "has no rows",
		"user.n_lifetime,user.last\nmany,1\n": `column "user.n_lifetime" is utf8; the feature is int64`,
	} {
		s.write(t, "bad.csv", file)
		if code, _, told := run(t, append([]string{"stats", "--service", "both", "--reference", s.file("bad.csv"), "--keep"}, s.flags...)...); code != 1 || !strings.Contains(told, want) {
			t.Errorf("%q: %d, %s", file, code, told)
		}
	}
	s.write(t, "none.csv", "a\n1\n")
	if _, _, err := run(t, append([]string{"stats", "--service", "both", "--reference", s.file("none.csv")}, s.flags...)...); !strings.Contains(err, "none of the features") {
		t.Errorf("a file without the features: %s", err)
	}
}
