package repository_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const good = `model: movie_ranker
description: |
  Ranks movies.
inputs:
  - tensor: features
    columns:
      - {from: user_ratings.count_30d, default: 0}
      - user_ratings.mean_rating_30d
      - from: request.hour_of_day
        default: -1.5e1
      - {from: movie.year, default: null}
output: scores
`

func TestParse(t *testing.T) {
	spec, err := repository.Parse("model.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	zero, minus := 0.0, -15.0
	want := &repository.Spec{
		Model: "movie_ranker", Description: "Ranks movies.\n", Output: "scores",
		Inputs: []repository.Input{{Tensor: "features", Columns: []repository.Column{
			{From: "user_ratings.count_30d", Default: &zero},
			{From: "user_ratings.mean_rating_30d"},
			{From: "request.hour_of_day", Default: &minus},
			{From: "movie.year"},
		}}},
	}
	if diff := cmp.Diff(want, spec, cmpopts.IgnoreUnexported(repository.Spec{}, repository.Input{}, repository.Column{})); diff != "" {
		t.Error(diff)
	}
	columns := spec.Inputs[0].Columns
	if field, ok := columns[2].RequestField(); !ok || field != "hour_of_day" {
		t.Errorf("RequestField = %q, %v", field, ok)
	}
	if _, _, ok := columns[2].Feature(); ok {
		t.Error("a request field was taken for a feature")
	}
	if view, feature, ok := columns[0].Feature(); !ok || view != "user_ratings" || feature != "count_30d" {
		t.Errorf("Feature = %q, %q, %v", view, feature, ok)
	}
}

func TestParseReportsAllMistakesWithTheirPlaces(t *testing.T) {
	_, err := repository.Parse("m.yaml", []byte(`model: Movie-Ranker
colour: blue
inputs:
  - tensor: features
    columns:
      - {from: nodot, default: 0}
      - {from: a.b, default: [1]}
      - {from: a.b, fallback: 1}
      - [1, 2]
  - columns: [a.b]
  - tensor: features
    columns: []
output: 7
`))
	want := []string{
		`m.yaml:1:8: "Movie-Ranker" is no name`,
		`m.yaml:2:1: unknown field "colour"`,
		`m.yaml:6:16: "nodot" is no column`,
		`m.yaml:7:30: want a finite decimal number`,
		`m.yaml:8:21: unknown field "fallback"`,
		`m.yaml:9:9: want a mapping`,
		`m.yaml:10:5: field "tensor" is missing`,
		`m.yaml:11:13: tensor "features" is listed twice`,
		`m.yaml:12:14: want a list with at least one entry`,
		`m.yaml:13:9: want text, not Integer`,
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

func TestParseRefusesWhatIsNoSpec(t *testing.T) {
	for _, text := range []string{"", "[", "a: [1\nb: 2", "- x", "3", "model: a\n---\nmodel: b", "model: m", "a: &x 1\nb: *x", "\t"} {
		_, err := repository.Parse("m.yaml", []byte(text))
		var mistake *repository.MistakeError
		if !errors.As(err, &mistake) || mistake.Line < 1 || mistake.File != "m.yaml" {
			t.Errorf("Parse(%q): %v, want a MistakeError with its place", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("model: &a x\ninputs: *a")
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := repository.Parse("m.yaml", []byte(text))
		if err == nil && (spec.Model == "" || spec.Output == "" || len(spec.Inputs) == 0 || len(spec.Inputs[0].Columns) == 0) {
			t.Errorf("accepted without its required fields: %+v", spec)
		}
	})
}

func TestCheck(t *testing.T) {
	spec, err := repository.Parse("m.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string, t tensor.Type, shape ...int64) tensor.Info {
		return tensor.Info{Name: name, Type: t, Shape: shape}
	}
	features, scores := of("features", tensor.Float32, -1, 4), of("scores", tensor.Float32, -1, 1)
	for name, test := range map[string]struct {
		inputs, outputs []tensor.Info
		want            []string
	}{
		"fits":           {[]tensor.Info{features}, []tensor.Info{scores}, nil},
		"vector scores":  {[]tensor.Info{features}, []tensor.Info{of("scores", tensor.Float64, -1)}, nil},
		"width":          {[]tensor.Info{of("features", tensor.Float32, -1, 5)}, []tensor.Info{scores}, []string{"m.yaml:5:5: input features float[?,5] has 5 elements a row, but the columns that are listed have 4"}},
		"type":           {[]tensor.Info{of("features", tensor.String, -1, 4)}, []tensor.Info{scores}, []string{"must be of the type of input features string[?,4]"}},
		"no such tensor": {[]tensor.Info{of("x", tensor.Float32, -1, 4)}, []tensor.Info{scores}, []string{`no input "features"`, "isn't listed"}},
		"extra tensor":   {[]tensor.Info{features, of("x", tensor.Int64, -1, 1)}, []tensor.Info{scores}, []string{"input x int64[?,1] of the model isn't listed"}},
		"no output":      {[]tensor.Info{features}, []tensor.Info{of("y", tensor.Float32, -1)}, []string{`m.yaml:12:9: the model has no output "scores"`}},
		"wide output":    {[]tensor.Info{features}, []tensor.Info{of("scores", tensor.Float32, -1, 2)}, []string{"m.yaml:12:9: output scores float[?,2] can't be the score: the shape must be [rows] or [rows,1]"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := spec.Check(test.inputs, test.outputs)
			if (err == nil) != (len(test.want) == 0) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func scan(t *testing.T, dir string) (*repository.Repository, []repository.Version) {
	t.Helper()
	repo, err := repository.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	versions, err := repo.Scan()
	if err != nil {
		t.Fatal(err)
	}
	return repo, versions
}

func TestScan(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"2", "10", "01", "11", "12"} {
		write(t, filepath.Join(dir, "movie_ranker", version, "model.yaml"), good)
		write(t, filepath.Join(dir, "movie_ranker", version, "model.onnx"), "abc")
	}
	if err := os.Remove(filepath.Join(dir, "movie_ranker", "11", "model.onnx")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "movie_ranker", "12", "model.yaml"), "model: other\ninputs: [{tensor: x, columns: [a.b]}]\noutput: y\n")
	write(t, filepath.Join(dir, "strays", "v1", "model.yaml"), good)
	write(t, filepath.Join(dir, "README.md"), "")
	write(t, filepath.Join(dir, ".git", "1", "model.yaml"), good)
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, versions := scan(t, dir)
	want := []struct {
		model  string
		number int
		err    string
	}{
		{"empty", 0, "it has no version"},
		{"movie_ranker", 0, `"01" is no version`},
		{"movie_ranker", 2, ""},
		{"movie_ranker", 10, ""},
		{"movie_ranker", 11, "model.onnx: no such file"},
		{"movie_ranker", 12, `model.yaml:1:8: it says model "other"`},
		{"strays", 0, "1\ndirectory \"v1\" is no version: want a whole number from 1"},
	}
	if len(versions) != len(want) {
		t.Fatalf("%d versions, want %d: %+v", len(versions), len(want), versions)
	}
	for i, v := range versions {
		if v.Model != want[i].model || v.Number != want[i].number || (v.Err == nil) != (want[i].err == "") ||
			v.Err != nil && !strings.Contains(v.Err.Error(), want[i].err) {
			t.Errorf("version %d: %s %d %v, want %+v", i, v.Model, v.Number, v.Err, want[i])
		}
	}
	if good := versions[3]; good.Spec.Output != "scores" || good.SHA256 != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" { // of "abc", FIPS 180-2
		t.Errorf("version 10 is %+v", good)
	}
	if !versions[1].Stray || versions[2].Stray || versions[0].Stray || versions[6].Stray {
		t.Error("01 is the stray directory, and it alone")
	}
}

// TestWhatCannotBeReadHidesNothing: a link that loops and a file that is too large are their version's problem alone.
func TestWhatCannotBeReadHidesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"1", "2"} {
		write(t, filepath.Join(dir, "ranker", version, "model.yaml"), strings.Replace(good, "movie_ranker", "ranker", 1))
		write(t, filepath.Join(dir, "ranker", version, "model.onnx"), "abc")
	}
	err := errors.Join(os.Truncate(filepath.Join(dir, "ranker", "2", "model.onnx"), 20<<30), // which takes no room
		os.Symlink("12", filepath.Join(dir, "ranker", "12")), os.Symlink("loop", filepath.Join(dir, "loop")))
	if err != nil {
		t.Fatal(err)
	}
	_, versions := scan(t, dir)
	var got []string
	for _, v := range versions {
		switch {
		case v.Err == nil:
			got = append(got, fmt.Sprintf("%s %d", v.Model, v.Number))
		case strings.Contains(v.Err.Error(), "larger than 2 GiB"):
			got = append(got, fmt.Sprintf("%s %d large", v.Model, v.Number))
		case strings.Contains(v.Err.Error(), "too many levels of symbolic links"):
			got = append(got, fmt.Sprintf("%s %d loops", v.Model, v.Number))
		default:
			t.Error(v.Err)
		}
	}
	if diff := cmp.Diff([]string{"loop 0 loops", "ranker 1", "ranker 2 large", "ranker 12 loops"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestPipesAreRefused, and nobody waits for their writers.
func TestPipesAreRefused(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"model.yaml", "model.onnx"} {
		version := filepath.Join(dir, "ranker", strconv.Itoa(i+1))
		write(t, filepath.Join(version, "model.yaml"), strings.Replace(good, "movie_ranker", "ranker", 1))
		write(t, filepath.Join(version, "model.onnx"), "abc")
		if err := errors.Join(os.Remove(filepath.Join(version, name)), syscall.Mkfifo(filepath.Join(version, name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "ranker", "serving.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	repo, versions := scan(t, dir)
	if len(versions) != 2 {
		t.Fatalf("%+v", versions)
	}
	_, serving := repo.Serving("ranker")
	for _, err := range []error{versions[0].Err, versions[1].Err, serving} {
		if err == nil || !strings.Contains(err.Error(), "is no regular file") {
			t.Errorf("error %v, want that it is no regular file", err)
		}
	}
}

func TestOpenWantsADirectory(t *testing.T) {
	if _, err := repository.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want that it isn't there", err)
	}
	if _, err := repository.Open(os.Args[0]); err == nil {
		t.Error("a file was opened as a repository")
	}
}
