package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTestRunsTheExample(t *testing.T) {
	out := mustRun(t, "test", "../../examples/movielens/tests/ratings.yaml")
	if !strings.Contains(out, "  ok    a rating without stars is a dead letter\n2 cases, 0 failed") {
		t.Error(out)
	}
}

func TestTestTellsWhatFails(t *testing.T) {
	text := strings.Replace(readFile(t, "../../examples/movielens/tests/ratings.yaml"), "count_7d: 2", "count_7d: 3", 1)
	definitions, err := filepath.Abs("../../examples/movielens/definitions")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "ratings.yaml")
	if err := os.WriteFile(name, []byte(strings.Replace(text, "../definitions", definitions, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := run(t, "test", name)
	if code != 1 || !strings.Contains(out, "line 14: user_ratings.count_7d of user_id 7 at 2026-03-08T20:50:00Z: got 2, want 3") || !strings.Contains(out, "2 cases, 1 failed") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	if code, out, _ = run(t, "test", "--json", name); code != 1 || !strings.Contains(out, `"line": 14`) {
		t.Errorf("exit status %d\n%s", code, out)
	}
	if code, _, complaints := run(t, "test", "nowhere.yaml"); code != 1 || !strings.Contains(complaints, "nowhere.yaml") {
		t.Errorf("exit status %d\n%s", code, complaints)
	}
}
