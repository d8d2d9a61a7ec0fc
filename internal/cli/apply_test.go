package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onehop/onehop/internal/testenv"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// project writes the test's definitions, changed, to a directory of their own.
func project(t *testing.T, dir string, oldNew ...string) string {
	t.Helper()
	text := strings.NewReplacer(oldNew...).Replace(readFile(t, "testdata/definitions/ratings.yaml"))
	if err := os.WriteFile(filepath.Join(dir, "ratings.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPlanAndApply(t *testing.T) {
	flags := []string{"--postgres", testenv.Postgres(t), "--namespace", testenv.Namespace(t)}
	dir := project(t, t.TempDir())
	with := func(args ...string) []string { return append(args, flags...) }

	code, out, complaints := run(t, with("plan", dir, "--detailed-exitcode")...)
	if code != 2 || !strings.Contains(out, "nothing is applied yet") || !strings.Contains(out, "+ create feature view user_ratings") {
		t.Fatalf("plan of the first version: exit status %d\n%s%s", code, out, complaints)
	}
	if out = mustRun(t, with("apply", dir)...); !strings.Contains(out, "Applied version 1") {
		t.Fatal(out)
	}
	if out = mustRun(t, with("apply", dir)...); !strings.Contains(out, "Nothing to do: version 1") {
		t.Error(out)
	}
	mustRun(t, with("plan", dir, "--detailed-exitcode")...)

	project(t, dir, "n: 3", "n: 4")
	var plan struct {
		Version, Next int
		Changes       []struct {
			Kind, Name string
			New        bool `json:"new_generation"`
		}
	}
	if err := json.Unmarshal([]byte(mustRun(t, with("plan", dir, "--json")...)), &plan); err != nil {
		t.Fatal(err)
	}
	if plan.Version != 1 || plan.Next != 2 || len(plan.Changes) != 1 || !plan.Changes[0].New {
		t.Errorf("%+v", plan)
	}
	if out = mustRun(t, with("apply", dir, "--json")...); !strings.Contains(out, `"effective_at"`) {
		t.Error(out)
	}

	project(t, dir, "topic: shop.ratings", "topic: shop.others")
	code, _, complaints = run(t, with("apply", dir)...)
	if code != 1 || !strings.Contains(complaints, "cannot follow version 2") || !strings.Contains(complaints, "topic") {
		t.Errorf("a source may not change its topic: exit status %d\n%s", code, complaints)
	}
}

func TestApplyTellsMistakesWithTheirPlaces(t *testing.T) {
	dir := project(t, t.TempDir(), "aggregate: mean", "aggregate: maen")
	code, _, complaints := run(t, "apply", dir, "--postgres", "postgres://127.0.0.1:1/nowhere")
	if code != 1 || !strings.Contains(complaints, "ratings.yaml:23:") || !strings.Contains(complaints, "maen") {
		t.Errorf("exit status %d\n%s", code, complaints)
	}
}
