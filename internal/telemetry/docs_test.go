package telemetry

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryMetricIsDocumented reads the names of metrics out of the sources: an operator
// must find each of them in docs/operating.md.
func TestEveryMetricIsDocumented(t *testing.T) {
	const root = "../.."
	page, err := os.ReadFile(filepath.Join(root, "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	name, found := regexp.MustCompile(`Name:\s+"(onehop_[a-z_]+)"`), 0
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path) //nolint:gosec // a source file of this repository
		for _, match := range name.FindAllSubmatch(source, -1) {
			found++
			if !strings.Contains(string(page), "`"+string(match[1])+"`") {
				t.Errorf("metric %s of %s is not in docs/operating.md", match[1], path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 10 {
		t.Errorf("only %d metrics were found: has their declaration changed?", found)
	}
}
