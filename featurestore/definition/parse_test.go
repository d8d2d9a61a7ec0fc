package definition

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// golden compares got with a file, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run with -update to accept):\n%s", name, diff)
	}
}

func eachFile(t *testing.T, pattern string, test func(t *testing.T, file File, golden string)) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			test(t, File{Name: filepath.Base(name), Text: text}, strings.TrimSuffix(name, ".yaml")+".want")
		})
	}
}

func TestMistakes(t *testing.T) {
	eachFile(t, "testdata/mistakes/*.yaml", func(t *testing.T, file File, want string) {
		catalog, err := Parse([]File{file})
		var mistakes *Errors
		if !errors.As(err, &mistakes) || catalog != nil {
			t.Fatalf("catalog %v, error %v, want mistakes", catalog, err)
		}
		golden(t, want, err.Error()+"\n")
	})
}

func TestValid(t *testing.T) {
	eachFile(t, "testdata/valid/*.yaml", func(t *testing.T, file File, want string) {
		catalog, err := Parse([]File{file})
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(catalog, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, want, string(got)+"\n")
	})
}
