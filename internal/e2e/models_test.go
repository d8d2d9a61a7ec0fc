package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/internal/cli"
)

// ask runs onehop models list or show.
func (s *stack) askModels(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append(append([]string{"models"}, args...), "--infer", s.onehop.InferenceURL)
	if status := cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}); status != 0 {
		t.Fatalf("%s: exit status %d\n%s", args, status, &stderr)
	}
	return stdout.String()
}

// answered is which version answers now, and as what.
func (s *stack) answered(t *testing.T) string {
	t.Helper()
	res, err := s.onehop.Inference().GetFeaturesAndPredict(t.Context(), rankRequest())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(res.GetModelVersion(), " ", res.GetVariant())
}

// TestShipAModel ships a version as a data scientist does: in the shadow, to all as a canary, back at once, to a version that is
// not there, and to all for good; each by the command, against a running infer.
func TestShipAModel(t *testing.T) {
	s := rankStack(t)
	if err := os.WriteFile(filepath.Join(s.models, "ranker", "serving.yaml"), []byte("default: 1\naliases: {stable: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeModel(t, s.models, 2, onnxtest.MLP(rankWidths, 2), rankSpec)
	eventually(t, 15*time.Second, "version 2 is loaded and serving.yaml is in force", func() error {
		if out := s.askModels(t, "list"); strings.Count(out, "ranker") != 2 || !strings.Contains(out, "alias stable, default") {
			return errors.New(out)
		}
		return nil
	})
	change := func(status int, says string, args ...string) {
		t.Helper()
		if args[0] == "switch" {
			args = append(args, "--infer", s.onehop.InferenceURL)
		}
		got, out := s.historyTool(t, append([]string{"models"}, append(args, "--who", "ada")...)...)
		if got != status || !strings.Contains(out, says) {
			t.Errorf("onehop models %s: exit status %d, want %d with %q:\n%s", strings.Join(args, " "), got, status, says, out)
		}
	}
	want := func(answer string) {
		t.Helper()
		if got := s.answered(t); got != answer {
			t.Errorf("answered by %s, want %s", got, answer)
		}
	}
	want("1 default")
	change(0, ": taken", "switch", "ranker", "--canary", "2:100", "--shadow", "2:50", "--reason", "new loss")
	want("2 canary")
	if out := s.askModels(t, "show", "ranker"); !strings.Contains(out, "canary: version 2 gets 100 %") || !strings.Contains(out, "because of switch") || !strings.Contains(out, "alias stable: version 1") {
		t.Error(out)
	}
	change(0, "is:  as serving.yaml says", "rollback", "ranker", "--reason", "clicks fell")
	want("1 default")
	change(1, `refused: default: model "ranker" has no version 9`, "switch", "ranker", "--default", "9")
	want("1 default")
	change(1, `refused: default: model "ranker" has no version 8`, "switch", "ranker", "--default", "8")
	change(0, "ranker: rollback to switch ", "rollback", "ranker")
	change(0, "ranker: rollback to switch ", "rollback", "ranker") // to the canary
	change(0, "is:  as serving.yaml says", "rollback", "ranker")
	want("1 default")
	change(0, ": taken", "switch", "ranker", "--default", "2", "--alias", "stable=2")
	want("2 default")
	change(0, ": taken", "switch", "ranker", "--ab", "a=1:50", "--ab", "b=2:50", "--by", "user")
	first := s.answered(t)
	want(first)
	change(0, "as serving.yaml says", "switch", "ranker", "--from-file")
	want("1 default")
	change(64, "", "switch", "ranker", "--canary", "2")
	status, out := s.historyTool(t, "models", "history", "ranker")
	if status != 0 || strings.Count(out, "of ranker: ") != 10 || strings.Count(out, "by ada") != 10 || !strings.Contains(out, "because: clicks fell") || !strings.Contains(out, "has no version 9") {
		t.Errorf("exit status %d\n%s", status, out)
	}
	list := s.askModels(t, "list")
	t.Log("\n" + list + out)
	// Two more, that listen where there is room, are told apart.
	s.run(t, "infer", "127.0.0.1:0", "127.0.0.1:0")
	s.run(t, "infer", "127.0.0.1:0", "127.0.0.1:0")
	took := regexp.MustCompile(` 127\.0\.0\.1:([0-9]+): taken`)
	eventually(t, 15*time.Second, "three instances have taken the last switch, each by its own name", func() error {
		_, out := s.historyTool(t, "models", "history", "ranker", "--limit", "1")
		if ports := took.FindAllString(out, -1); len(ports) != 3 || len(slices.Compact(slices.Sorted(slices.Values(ports)))) != 3 || strings.Contains(out, ":0: ") {
			return errors.New(out)
		}
		return nil
	})
}
