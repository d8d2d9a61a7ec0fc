package cli_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestHelpTeaches(t *testing.T) {
	commands := []string{"dev", "plan", "apply", "inspect", "training-set", "dlq", "generate", "setup", "health", "version"}
	overview := mustRun(t)
	for _, command := range commands {
		if !strings.Contains(overview, "\n  "+command+" ") {
			t.Errorf("the overview lacks %s:\n%s", command, overview)
		}
		help := mustRun(t, command, "--help")
		if !strings.Contains(help, "Example") || !strings.Contains(help, "    onehop "+command) {
			t.Errorf("onehop %s --help has no example:\n%s", command, help)
		}
	}
	for _, command := range []string{"list", "show", "retry"} {
		if help := mustRun(t, "dlq", command, "--help"); !strings.Contains(help, "    onehop dlq "+command) {
			t.Errorf("onehop dlq %s --help has no example:\n%s", command, help)
		}
	}
}

func TestWrongUse(t *testing.T) {
	tests := []struct {
		args string
		want []string // in what is complained of
	}{
		{"fly", []string{"unexpected argument fly"}},
		{"health", []string{"<url>"}},
		{"health localhost:8081", []string{"is not a URL such as"}},
		{"health http://localhost --timeout 0s", []string{"--timeout"}},
		{"plan dir", []string{"--postgres", "ONEHOP_POSTGRES"}},
		{"apply dir --postgres http://secret@localhost", []string{"must begin with postgres://"}},
		{"inspect user 1", []string{"--postgres", "--redis"}},
		{"inspect user", []string{"<key>"}},
		{"training-set", []string{"--postgres", "give the spine: --spine or --sql", "say which features: --features or --service"}},
		{"training-set --spine a.csv --sql x --features a.* --service b", []string{"give the spine", "say which features"}},
		{"training-set --spine a.txt --service b --out b.zip", []string{"--spine: a.txt: the format is told by the extension", "--out: b.zip"}},
		{"training-set --spine a.csv --service b --json", []string{"--json needs --out"}},
		{"dlq list ratings", []string{"--kafka", "--postgres"}},
		{"dlq list ratings --since yesterday --limit=-1", []string{"neither a duration such as 24h nor a time", "--limit"}},
		{"dlq show ratings", []string{"<place>"}},
		{"dlq retry ratings", []string{"say which letters"}},
		{"dlq retry ratings 0/1 --all", []string{"say which letters"}},
		{"generate", []string{"give --file, or --kafka"}},
		{"generate --kafka localhost --late 2 --users 0", []string{"host:port", "--late must be between 0 and 1", "--users and --items"}},
		{"generate --file x --items-topic movies", []string{"need --kafka"}},
		{"generate --file x --count 0", []string{"--count must be at least 1"}},
		{"setup --only everything", []string{"--only", "onnxruntime"}},
		{"dev --real-kafka --kafka localhost:9092", []string{"give one of them"}},
		{"dev --serve-listen 8081 --redis localhost", []string{"--serve-listen", "--redis"}},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			code, out, complaints := run(t, strings.Fields(test.args)...)
			if code != 64 || out != "" {
				t.Errorf("exit status %d, output %q", code, out)
			}
			for _, want := range test.want {
				if !strings.Contains(complaints, want) {
					t.Errorf("%q is not in:\n%s", want, complaints)
				}
			}
			if strings.Contains(complaints, "secret") {
				t.Errorf("the password of a URL was printed:\n%s", complaints)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no definitions are applied", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(release)
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"well", []string{server.URL + "/readyz"}, 0, ""},
		{"ill", []string{server.URL + "/broken"}, 1, "no definitions are applied"},
		{"slow", []string{server.URL + "/slow", "--timeout", "30ms"}, 1, "deadline exceeded"},
		{"away", []string{"http://127.0.0.1:1/readyz"}, 1, "refused"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, _, complaints := run(t, append([]string{"health"}, test.args...)...)
			if code != test.code || !strings.Contains(complaints, test.want) {
				t.Errorf("exit status %d, complaints %q; want %d, %q", code, complaints, test.code, test.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if text := mustRun(t, "version"); !strings.HasPrefix(text, "onehop ") {
		t.Errorf("%q", text)
	}
	var version struct{ Version, Go, Platform string }
	if err := json.Unmarshal([]byte(mustRun(t, "version", "--json")), &version); err != nil || version.Go == "" {
		t.Errorf("%+v, %v", version, err)
	}
}

func TestSetupSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	args := []string{"setup", "--only", "kafka,movielens"}
	out := mustRun(t, args...)
	for _, want := range []string{"missing  kafka", "apt-get install", "missing  movielens", "pip"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	code, out, _ := run(t, append(args, "--strict", "--json")...)
	var results []struct{ Part, Missing string }
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		t.Fatal(err)
	}
	if code != 1 || len(results) != 2 || results[0].Missing == "" {
		t.Errorf("exit status %d, %+v", code, results)
	}
}

func TestGenerateToAFileIsReproducible(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ratings.jsonl")
	mustRun(t, "generate", "--file", file, "--count", "50", "--seed", "7", "--malformed", "0.1")
	again := mustRun(t, "generate", "--file", "-", "--count", "50", "--seed", "7", "--malformed", "0.1")
	if written := readFile(t, file); written != again || strings.Count(written, "\n") != 50 {
		t.Errorf("%d lines in the file, %d on the standard output, or they differ", strings.Count(written, "\n"), strings.Count(again, "\n"))
	}
	if other := mustRun(t, "generate", "--file", "-", "--count", "50", "--seed", "8"); other == again {
		t.Error("another seed gave the same stream")
	}
}
