package repository_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/traffic"
)

const serving = `default: 3
aliases: {stable: 3, next: 4}
traffic:
  ab:
    by: user
    variants:
      - {name: a, version: stable, percent: 50}
      - {name: b, version: 4, percent: 50}
shadow: {version: next, percent: 0.5}
`

func TestParseServing(t *testing.T) {
	got, err := repository.ParseServing("serving.yaml", []byte(serving))
	if err != nil {
		t.Fatal(err)
	}
	want := traffic.Traffic{
		Default: "3", Aliases: map[string]int64{"stable": 3, "next": 4}, Shadow: &traffic.Share{Version: "next", Percent: 0.5},
		Split: &traffic.Split{AB: &traffic.AB{By: "user", Variants: []traffic.Variant{{Name: "a", Version: "stable", Percent: 50}, {Name: "b", Version: "4", Percent: 50}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	canary, err := repository.ParseServing("serving.yaml", []byte("traffic: {canary: {version: 4, percent: 5}}\ndefault: newest"))
	if err != nil || canary.Split.Canary.Version != "4" || canary.Default != traffic.Newest {
		t.Errorf("%+v, %v", canary, err)
	}
}

func TestParseServingReportsAllMistakesWithTheirPlaces(t *testing.T) {
	_, err := repository.ParseServing("s.yaml", []byte(`default: 0
aliases: {canary: 3, next: x}
traffic:
  canary: {version: newest, percent: 101}
  ab:
    by: user
    variants:
      - {name: a, version: 1, percent: 50}
      - {name: B, version: 1.5, percent: 40}
shadow: {version: 4}
color: red
`))
	want := []string{
		`s.yaml:1:10: "0" is no version`,
		`s.yaml:2:11: "canary" has a meaning of its own`,
		`s.yaml:2:28: want the number of a version`,
		`s.yaml:4:21: newest is for the default alone`,
		`s.yaml:4:38: 101 is no share`,
		`s.yaml:9:16: "B" is no name`,
		`s.yaml:9:28: want a version: a whole number from 1, or an alias; not Float`,
		`s.yaml:8:7: the variants have 90 percent together`,
		`s.yaml:4:3: want canary or ab, one of them`,
		`s.yaml:10:10: field "percent" is missing`,
		`s.yaml:11:1: unknown field "color"`,
	}
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d mistakes, want %d:\n%v", len(got), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("mistake %d is\n  %s, want\n  %s", i, got[i], want[i])
		}
	}
}

// TestDefaultThatIsNoVersion: the mistake says what the default version may be.
func TestDefaultThatIsNoVersion(t *testing.T) {
	for text, want := range map[string]string{
		"default: false": "s.yaml:1:10: want a version: a whole number from 1, an alias or newest; not Bool",
		"default: 1.5":   "s.yaml:1:10: want a version: a whole number from 1, an alias or newest; not Float",
	} {
		if _, err := repository.ParseServing("s.yaml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestServingOfNothing: all of it is optional, and so is its content.
func TestServingOfNothing(t *testing.T) {
	for _, text := range []string{"", "# later\n", "---\n", "null", "{}"} {
		if got, err := repository.ParseServing("s.yaml", []byte(text)); err != nil || !got.Empty() {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// TestServingThatIsNone: the mistake says what is expected.
func TestServingThatIsNone(t *testing.T) {
	for text, want := range map[string]string{
		"{{{":                           "s.yaml:1:2: could not find flow map content; want one YAML document with default, aliases, traffic or shadow, all of it optional",
		"default: 1\n---\ndefault: 2\n": "s.yaml:1:1: want one YAML document with default",
	} {
		if _, err := repository.ParseServing("s.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestServingThatIsADirectory: it is told, and is no version.
func TestServingThatIsADirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "movie_ranker", "serving.yaml", "notes.txt"), "x")
	repo, err := repository.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Serving("movie_ranker"); err == nil || !strings.Contains(err.Error(), "serving.yaml is a directory: want a file of that name, or none") {
		t.Errorf("%v", err)
	}
	versions, err := repo.Scan()
	if err != nil || len(versions) != 1 || versions[0].Stray || strings.Contains(versions[0].Err.Error(), "serving.yaml") {
		t.Errorf("%+v, %v", versions, err)
	}
}

// TestServingThatIsALink: as good as the file; to a file that is gone it cannot be read, which is not to say that there is none.
func TestServingThatIsALink(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "real.yaml")
	write(t, file, "default: 1")
	write(t, filepath.Join(dir, "movie_ranker", "notes.txt"), "x")
	if err := os.Symlink(file, filepath.Join(dir, "movie_ranker", "serving.yaml")); err != nil {
		t.Fatal(err)
	}
	repo, err := repository.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if wanted, err := repo.Serving("movie_ranker"); err != nil || wanted.Default != "1" {
		t.Errorf("%+v, %v", wanted, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Serving("movie_ranker"); err == nil || !strings.Contains(err.Error(), "serving.yaml is a link to a file that is not there") {
		t.Errorf("%v", err)
	}
}

func FuzzParseServing(f *testing.F) {
	f.Add(serving)
	f.Add("traffic: {canary: {version: 4, percent: 5}}")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := repository.ParseServing("s.yaml", []byte(text))
		if err == nil && got.Check() != nil {
			t.Errorf("accepted, and yet %v", got.Check())
		}
	})
}

// TestScanReadsWhatChanged: a file that has not changed for a while is not read again, one that has is.
func TestScanReadsWhatChanged(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "movie_ranker", "1", "model.onnx")
	write(t, filepath.Join(dir, "movie_ranker", "1", "model.yaml"), good)
	repo, err := repository.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	scan := func() string {
		t.Helper()
		versions, err := repo.Scan()
		if err != nil || len(versions) != 1 || versions[0].Err != nil {
			t.Fatal(versions, err)
		}
		return versions[0].SHA256
	}
	at := time.Now().Add(-time.Hour)
	put := func(text string, at time.Time) {
		write(t, model, text)
		if err := os.Chtimes(model, at, at); err != nil {
			t.Fatal(err)
		}
	}
	put("abc", at)
	first := scan()
	put("xyz", at) // which nobody does but this test: it tells whether the file is read
	if scan() != first {
		t.Error("a file that looks as before was read again")
	}
	put("xyz", at.Add(time.Nanosecond))
	second := scan()
	if second == first {
		t.Error("a file that changed was not read")
	}
	if err := errors.Join(os.WriteFile(model+".new", []byte("123"), 0o600), os.Chtimes(model+".new", at, at), os.Rename(model+".new", model)); err != nil {
		t.Fatal(err)
	}
	third := scan()
	if third == second {
		t.Error("a file put in its place was not read")
	}
	now := time.Now() // of both, as by a file system with a coarse clock
	put("new", now)
	fourth := scan()
	put("old", now)
	if fourth == third || scan() == fourth {
		t.Error("a file that changes just now was not read")
	}
}
