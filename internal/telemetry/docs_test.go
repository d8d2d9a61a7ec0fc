package telemetry

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// declaration is how metrics are declared: by a name in options, or by a description. Their
// labels follow, before the next declaration and the end of the function.
var (
	declaration = regexp.MustCompile(`(?:Name:\s+|NewDesc\()"(onehop_[a-z_]+)"`)
	labelList   = regexp.MustCompile(`\[\]string\{([^}]*)\}`)
)

// metricsOfSources reads the names of metrics, and their labels, out of the sources.
func metricsOfSources(t *testing.T) map[string][]string {
	t.Helper()
	metrics := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path) //nolint:gosec // a source file of this repository
		found := declaration.FindAllSubmatchIndex(source, -1)
		for i, at := range found {
			rest := source[at[1]:]
			if i+1 < len(found) {
				rest = source[at[1]:found[i+1][0]]
			}
			rest, _, _ = bytes.Cut(rest, []byte("\n}\n"))
			labels := []string{}
			if list := labelList.FindSubmatch(rest); list != nil {
				for label := range strings.SplitSeq(string(list[1]), ",") {
					labels = append(labels, strings.Trim(label, ` "`))
				}
			}
			metrics[string(source[at[2]:at[3]])] = labels
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(metrics) < 15 {
		t.Fatalf("only %d metrics were found: has their declaration changed?", len(metrics))
	}
	return metrics
}

// TestEveryMetricIsDocumented looks for every metric, and its labels, in docs/operating.md.
func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, labels := range metricsOfSources(t) {
		row := regexp.MustCompile("(?m)^\\|[^|]*`" + name + "`[^|]*\\|([^|]*)\\|").FindSubmatch(page)
		if row == nil {
			t.Errorf("metric %s is not in the table of docs/operating.md", name)
			continue
		}
		if got, want := strings.TrimSpace(string(row[1])), strings.Join(labels, ", "); got != want {
			t.Errorf("metric %s has the labels %q, in docs/operating.md %q", name, want, got)
		}
	}
}
