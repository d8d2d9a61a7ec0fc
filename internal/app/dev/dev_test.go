package dev

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFindDirs(t *testing.T) {
	project, plain, empty := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{"definitions", "models"} {
		if err := os.Mkdir(filepath.Join(project, dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(plain, "views.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name        string
		config      Config
		definitions string
		models      string
		problem     string
	}{
		{"nothing", Config{}, "", "", ""},
		{"a project", Config{Dir: project}, filepath.Join(project, "definitions"), filepath.Join(project, "models"), ""},
		{"flags win", Config{Dir: project, Definitions: "d", Models: "m"}, "d", "m", ""},
		{"a folder of definitions", Config{Dir: plain}, plain, "", ""},
		{"an empty folder", Config{Dir: empty}, empty, "", "has neither a folder definitions nor"},
		{"no folder", Config{Dir: filepath.Join(empty, "x")}, "", "", "is no folder"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := test.config
			err := c.findDirs()
			if problem := message(err); (problem == "") != (test.problem == "") || !strings.Contains(problem, test.problem) {
				t.Fatalf("problem %q, want %q", problem, test.problem)
			}
			if c.Definitions != test.definitions || c.Models != test.models {
				t.Errorf("definitions %q, models %q", c.Definitions, c.Models)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// An example that the services would refuse teaches nothing.
func TestExampleEventIsAcceptable(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	for _, unit := range []featurestore.TimeUnit{featurestore.Seconds, featurestore.Milliseconds, featurestore.Microseconds, featurestore.RFC3339} {
		source := &featurestore.Source{
			Name: "s", TimeField: "at", TimeUnit: unit, Format: "json",
			MaxAge: featurestore.DefaultMaxAge, MaxSkew: featurestore.DefaultMaxSkew,
		}
		for _, name := range featurestore.TypeNames() {
			typ, err := featurestore.ParseType(name)
			if err != nil {
				t.Fatal(err)
			}
			source.Fields = append(source.Fields, featurestore.Field{Name: name, Type: typ, Required: true})
		}
		if unit == featurestore.Seconds { // and the other places where a field can be
			source.Explode, source.TimeField, source.TimePath = "order.items", "", "order.at"
			source.Fields[0].Path, source.Fields[1].Path = "order.items.sku.id", "order.more.x"
		}
		request, ok := examplePush(source, now).(map[string]any)
		if !ok {
			t.Fatal("the request is no object")
		}
		text := request["events"].([]string)[0]
		record := &kgo.Record{Value: []byte(text), Timestamp: now}
		decoded, err := stream.NewDecoder([]stream.Version{{Source: source}}, nil).Decode(t.Context(), record, nil)
		if err != nil || len(decoded) != 1 {
			t.Errorf("unit %s: %s: %d events, %v", unit, text, len(decoded), err)
		}
	}
}

func TestCurlSurvivesTheShell(t *testing.T) {
	request := map[string]any{"it's": []string{`a "b" $HOME \n`, "`id`"}}
	line := strings.Replace(curl("http://127.0.0.1/x", request), "curl -s http://127.0.0.1/x -H 'Content-Type: application/json' -d", "printf %s", 1)
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", line).Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(request)
	if err != nil || string(out) != string(want) {
		t.Errorf("the shell made %s of %s (%v)", out, want, err)
	}
}

func TestExamplePredictNamesEveryKey(t *testing.T) {
	catalog := &featurestore.Catalog{
		Entities: []featurestore.Entity{
			{Name: "user", Keys: []featurestore.JoinKey{{Name: "user_id", Type: featurestore.Int64}}},
			{Name: "movie", Keys: []featurestore.JoinKey{{Name: "movie_id", Type: featurestore.String}}},
		},
		Views:    []featurestore.View{{Name: "u", Entity: "user"}, {Name: "m", Entity: "movie"}},
		Services: []featurestore.Service{{Name: "s", Columns: []featurestore.Ref{{View: "u", Column: "a"}, {View: "m", Column: "b"}}}},
		Models: []featurestore.Model{{
			Name: "ranker", Service: "s", Candidates: "movie",
			Request: []featurestore.Field{{Name: "hour", Type: featurestore.Float64}},
		}},
	}
	got, err := json.Marshal(examplePredict(catalog, &catalog.Models[0]))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"candidates":{"movie_id":{"string":["a","a"]}},"entities":{"user_id":{"int64":[1]}},"model":"ranker","request":{"hour":{"double":[4.5]}}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestListenTakesAnotherPortWhenTheUsualIsTaken(t *testing.T) {
	usual := listen(t.Context(), "", "127.0.0.1:0")
	if usual != "127.0.0.1:0" || listen(t.Context(), "[::1]:5", "x") != "[::1]:5" || listen(t.Context(), "", "no address") != "127.0.0.1:0" {
		t.Error("another address was chosen")
	}
}

func TestSignatureChangesWithDefinitionsOnly(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := signature(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one := write("views.yaml", "a")
	if noise := write("notes.txt", "b"); noise != one {
		t.Error("a file that is no definition changed the signature")
	}
	if two := write("views.yaml", "longer"); two == one {
		t.Error("a changed definition did not change the signature")
	}
}
