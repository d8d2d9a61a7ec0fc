package repository_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/repository"
)

const remote = `model: m
inputs: [{tensor: x, columns: [a.b]}]
output: y
remote:
`

func TestParseRemote(t *testing.T) {
	spec, err := repository.Parse("m.yaml", []byte(remote+`  endpoints: ["triton-1:8001", "[::1]:8001"]
  model: Ranker/x
  version: "3"
  timeout: 250ms
  connections: 2
  tls: true
  token_from: ONEHOP_MODEL_TOKEN_GPU
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &oip.Options{
		Endpoints: []string{"triton-1:8001", "[::1]:8001"}, Model: "Ranker/x", Version: "3",
		Timeout: 250 * time.Millisecond, Connections: 2, TLS: true, TokenFrom: "ONEHOP_MODEL_TOKEN_GPU",
	}
	if diff := cmp.Diff(want, spec.Remote, cmpopts.IgnoreUnexported(oip.Options{})); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesInRemote(t *testing.T) {
	many := "  endpoints: [" + strings.Repeat("a:1, ", 17) + "]\n  model: x\n"
	for text, want := range map[string]string{
		"  model: x\n":                                        `m.yaml:5:3: field "endpoints" is missing`,
		"  endpoints: [a:1]\n":                                `m.yaml:5:3: field "model" is missing`,
		"  endpoints: []\n  model: x\n":                       "m.yaml:5:14: want a list with at least one entry",
		"  endpoints: [a]\n  model: x\n":                      `m.yaml:5:15: "a" is no endpoint`,
		"  endpoints: [\":1\"]\n  model: x\n":                 `m.yaml:5:15: ":1" is no endpoint`,
		"  endpoints: [\"a:70000\"]\n  model: x\n":            `m.yaml:5:15: "a:70000" is no endpoint`,
		"  endpoints: [\"http://a:1\"]\n  model: x\n":         "is no endpoint",
		"  endpoints: [a:1, a:1]\n  model: x\n":               `m.yaml:5:20: endpoint "a:1" is listed twice`,
		many:                                                  "17 endpoints are listed; at most 16 can be",
		"  endpoints: [a:1]\n  model: x\n  version: 3\n":      "m.yaml:7:12: want text, not Integer",
		"  endpoints: [a:1]\n  model: x\n  timeout: 0s\n":     "m.yaml:7:12: want at least 1ms",
		"  endpoints: [a:1]\n  model: x\n  timeout: 2m\n":     "m.yaml:7:12: want a time up to 1m0s",
		"  endpoints: [a:1]\n  model: x\n  connections: 99\n": "m.yaml:7:16: want a whole number from 1 to 16",
		"  endpoints: [a:1]\n  model: x\n  tls: maybe\n":      "m.yaml:7:8: want true or false",
		"  endpoints: [a:1]\n  model: x\n  token: s3cret\n":   `m.yaml:7:3: unknown field "token"`,
		"  endpoints: [a:1]\n  model: x\n  tls: true\n  token_from: AWS_SECRET_ACCESS_KEY\n": "m.yaml:8:15: \"AWS_SECRET_ACCESS_KEY\": want the name of an environment variable",
		"  endpoints: [a:1]\n  model: x\n  token_from: ONEHOP_MODEL_TOKEN\n":                 "m.yaml:5:3: a token is only sent over TLS",
		"  endpoints: [a:1]\n  model: " + strings.Repeat("x", 300) + "\n":                    "want at most 256 bytes",
	} {
		_, err := repository.Parse("m.yaml", []byte(remote+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

// TestRemoteVersionHasNoModelFile: neither both nor none of the two ways is right.
func TestRemoteVersionHasNoModelFile(t *testing.T) {
	dir := t.TempDir()
	version := filepath.Join(dir, "m", "1")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(version, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scan := func() repository.Version {
		t.Helper()
		repo, err := repository.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		versions, err := repo.Scan()
		if err != nil || len(versions) != 1 {
			t.Fatalf("%d versions, %v", len(versions), err)
		}
		return versions[0]
	}
	if err := os.MkdirAll(version, 0o750); err != nil {
		t.Fatal(err)
	}
	write("model.yaml", remote+"  endpoints: [a:1]\n  model: x\n")
	if v := scan(); v.Err != nil || v.SHA256 != "" || v.Spec.Remote.Model != "x" {
		t.Errorf("version %+v", v)
	}
	write("model.yaml", remote+"  endpoints: [a]\n  model: x\n")
	if v := scan(); v.Err == nil || strings.Contains(v.Err.Error(), "model.onnx") || !strings.Contains(v.Err.Error(), "no endpoint") {
		t.Errorf("a mistake in remote: %v", v.Err)
	}
	write("model.yaml", remote+"  endpoints: [a:1]\n  model: x\n")
	write("model.onnx", "x")
	if v := scan(); v.Err == nil || !strings.Contains(v.Err.Error(), "there is a model.onnx too") {
		t.Errorf("with a model.onnx: %v", v.Err)
	}
}
