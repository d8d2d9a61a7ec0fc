package definition

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
)

const (
	nounsText = `
namespace: shop
entities: [{name: user, keys: [{name: user_id, type: int64}]}]
sources:
  - {name: sales, format: json, event_time: {field: at, unit: us}, fields: [{name: user_id, type: int64, required: true}]}
`
	viewsText = `
views: [{name: v, entity: user, source: sales, features: [{name: n, aggregate: count, windows: [1h]}]}]
`
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadTakesDirectoriesFilesAndLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a/b/views.yml", viewsText)
	write(t, dir, "..data/nouns.yaml", nounsText) // as a Kubernetes ConfigMap is mounted
	if err := os.Symlink(filepath.Join("..data", "nouns.yaml"), filepath.Join(dir, "nouns.yaml")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "notes.txt", "not YAML: [")
	write(t, dir, "folder.yaml/empty.yaml", "# nothing\n")
	catalog, err := Load(dir, filepath.Join(dir, "nouns.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if catalog.Namespace != "shop" || len(catalog.Entities) != 1 || len(catalog.Views) != 1 {
		t.Errorf("catalog %+v", catalog)
	}
}

func TestLoadSaysWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), dir+" has no *.yaml") {
		t.Errorf("an empty directory: %v", err)
	}
	missing := filepath.Join(dir, "missing.yaml")
	if _, err := Load(missing); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing file: %v", err)
	}
	write(t, dir, "empty.yaml", "\n# nothing\n")
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "define nothing") {
		t.Errorf("a file with nothing: %v", err)
	}
	write(t, dir, "large.yaml", "# "+strings.Repeat("x", maxFileBytes))
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "large.yaml:1:1: the file has 1048577 bytes") {
		t.Errorf("a large file: %v", err)
	}
}

func TestMistakesOfSeveralFilesAreSorted(t *testing.T) {
	_, err := Parse([]File{
		{Name: "b.yaml", Text: []byte("namespace: other\nzebra: 1\n")},
		{Name: "c.yaml", Text: []byte("a: [\n")},
		{Name: "a.yaml", Text: []byte(nounsText + nounsText[len("\nnamespace: shop\n"):])},
	})
	want := strings.TrimSpace(`
a.yaml:2:12: the namespace is "shop" here and "other" at b.yaml:1:12: one catalog has one
a.yaml:6:1: key "entities" appears twice; it is also at line 3
a.yaml:7:1: key "sources" appears twice; it is also at line 4
b.yaml:2:1: unknown key "zebra"; there are entities, models, namespace, on_demand, services, sources, views
c.yaml:1:4: the file is not valid YAML: sequence end token ']' not found`)
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestNamespaceIsOverridden(t *testing.T) {
	catalog, err := Options{Namespace: "test7"}.Parse([]File{{Name: "a", Text: []byte(nounsText)}})
	if err != nil {
		t.Fatal(err)
	}
	if catalog.Namespace != "test7" || catalog.Sources[0].Topic != "test7.sales" {
		t.Errorf("namespace %q, topic %q", catalog.Namespace, catalog.Sources[0].Topic)
	}
	if _, err := (Options{Namespace: "Test"}).Parse(nil); err == nil {
		t.Error("a wrong namespace was accepted")
	}
}

func TestManyFields(t *testing.T) {
	source := func(n int, words string) File {
		var b strings.Builder
		b.WriteString("namespace: shop\nsources:\n  - name: s\n    format: json\n    event_time: {field: at, unit: us}\n    fields:\n")
		for i := range n {
			fmt.Fprintf(&b, "      - {name: f%d, type: int64%s}\n", i, words)
		}
		return File{Name: "f", Text: []byte(b.String())}
	}
	for _, c := range []struct {
		file File
		want string
	}{
		{source(256, ""), ""},
		{source(257, ""), `f:7:7: "fields" has 257 entries; at most 256 are allowed`},
		{source(60, ", required: true"), ""},
		{source(61, ", required: true"), `f:3:11: source "s" has 61 required fields; at most 60 are allowed`},
	} {
		_, err := Parse([]File{c.file})
		if got := fmt.Sprint(err); c.want != "" && got != c.want || c.want == "" && err != nil {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestHostileFilesAreRefusedFast keeps what a YAML parser does with its stack and its
// time in bounds.
func TestHostileFilesAreRefusedFast(t *testing.T) {
	var keys strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for name, text := range map[string]string{
		"brackets":  strings.Repeat("[", maxFileBytes),
		"braces":    strings.Repeat("{a: ", maxFileBytes/4),
		"lists":     strings.Repeat("- ", maxFileBytes/2-1) + "a",
		"questions": strings.Repeat("? ", maxFileBytes/2-1) + "a",
		"anchors":   strings.Repeat("&a ", maxFileBytes/3-1) + "a",
		"tags":      strings.Repeat("!t ", maxFileBytes/3-1) + "a",
		"keys":      keys.String(),
		"documents": strings.Repeat("---\n", maxFileBytes/4),
		"quote":     `"` + strings.Repeat("a", maxFileBytes-1),
		"bytes":     string([]byte{0xff, 0xfe, 0, 1, 2}),
	} {
		if _, err := Parse([]File{{Name: name, Text: []byte(text)}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeyBytes(t *testing.T) {
	text, err := os.ReadFile("testdata/valid/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := Parse([]File{{Name: "full", Text: text}})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]int{
		"sales.user_id": 0, "sales.article": featurestore.MaxKeyBytes, "clicks.host": featurestore.MaxKeyBytes / 4,
		"clicks.cookie": featurestore.MaxKeyBytes / 4, "clicks.article": featurestore.MaxKeyBytes,
	} {
		name, field, _ := strings.Cut(ref, ".")
		source := catalog.Source(name)
		if got := source.Fields[source.Field(field)].KeyBytes; got != want {
			t.Errorf("%s: %d bytes, want %d", ref, got, want)
		}
	}
}

// FuzzParse feeds the parser anything: it may refuse it, with every mistake somewhere
// in the file. What it accepts must be all that the file says, and fold.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range seeds {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		catalog, err := Parse([]File{{Name: "fuzz", Text: text}})
		var mistakes *Errors
		if errors.As(err, &mistakes) {
			for _, m := range mistakes.Mistakes {
				if m.File != "fuzz" || m.Line < 1 || m.Column < 1 || m.Message == "" {
					t.Fatalf("a mistake without its place: %+v", m)
				}
			}
		}
		if err != nil {
			return
		}
		if lost := lostScalar(text); lost != nil {
			t.Fatalf("accepted though %q at %d:%d was lost", lost.Value, lost.Position.Line, lost.Position.Column)
		}
		for i := range catalog.Views {
			if compile(catalog, &catalog.Views[i]).Fingerprint() == 0 {
				t.Fatalf("view %q was accepted and does not compile", catalog.Views[i].Name)
			}
		}
		if changes := Diff(catalog, catalog); len(changes) > 0 {
			t.Fatalf("a catalog differs from itself: %+v", changes)
		}
	})
}
