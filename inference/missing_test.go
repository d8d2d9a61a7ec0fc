package inference

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
)

func (s *ships) remove(name string) {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, "ranker", name)); err != nil {
		s.t.Fatal(err)
	}
}

// TestAMissingDefaultVersionIsNamed: the error of a request that names no version says which one it should get, why it does not
// and which versions there are.
func TestAMissingDefaultVersionIsNamed(t *testing.T) {
	s := newShips(t)
	s.ship(3, 3)
	s.ship(4, 4)
	s.put("4/model.onnx", "this is no model")
	wantError := func(want string) {
		t.Helper()
		_, err := s.Pick(Want{Model: "ranker"})
		var known *featurestore.Error
		if !errors.As(err, &known) || known.Code != featurestore.Unavailable || !strings.Contains(known.Message, want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	s.put("serving.yaml", "default: 3")
	s.look()
	s.remove("3")
	s.look()
	wantError(`model "ranker": its default is version 3, which is not there; there are these versions: 1, 2, and these that cannot be served: 4: ` +
		`name a version in the request, or change the default: in serving.yaml or by onehop models switch ranker --default VERSION`)
	s.put("serving.yaml", "default: 4")
	s.look()
	wantError(`its default is version 3, which is not there, and what is wanted instead cannot be followed (onehop models show ranker says why); there are`)
	s.restart(nil)
	wantError(`its default is version 4, which cannot be served (onehop models show ranker says why); there are these versions: 1, 2,`)
	s.put("serving.yaml", "default: stable\naliases: {stable: 3}")
	s.restart(nil)
	wantError(`its default is the alias stable of version 3, which is not there; there are these versions: 1, 2,`)
	s.put("serving.yaml", "default: steady\naliases: {stable: 1}")
	s.restart(nil)
	wantError(`its default version is the alias steady, which is not there; there are these versions: 1, 2,`)
	s.put("serving.yaml", "default: newest")
	s.remove("1")
	s.remove("2")
	s.look()
	wantError(`model "ranker": no version can be served; there are these versions: none, and these that cannot be served: 4: put one there that can be`)
}

// TestStrayDirectoriesAreNoVersions: what is beside the versions and is none is told by the log, once, and listed as no version.
func TestStrayDirectoriesAreNoVersions(t *testing.T) {
	s := newShips(t)
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.put("007/model.yaml", spec)
	s.put("abc/notes.txt", "x")
	s.look()
	s.look()
	for _, m := range s.Models() {
		if m.Number == 0 || m.Problem != nil {
			t.Errorf("listed as %+v", m)
		}
	}
	for _, name := range []string{"007", "abc"} {
		if told := `level=WARN msg="a directory beside a model's versions is passed over" model=ranker directory=` + filepath.Join(s.dir, "ranker", name); strings.Count(log.String(), told) != 1 {
			t.Errorf("the log says of %s:\n%s", name, &log)
		}
	}
	s.remove("abc")
	s.look()
	if told := "a directory beside a model's versions is gone"; strings.Count(log.String(), told) != 1 || strings.Contains(log.String(), "version removed") {
		t.Errorf("the log says:\n%s", &log)
	}
	if p, err := s.Find("ranker", 0); err != nil || p.Model.Number != 2 {
		t.Errorf("%v", err)
	} else {
		p.Release()
	}
}

// TestTheLogOfAnOrderlyRelease: a serving.yaml may come with the version that it names; what stays wrong is told once, and what is refused is told
// once however often it is tried.
func TestTheLogOfAnOrderlyRelease(t *testing.T) {
	s := newShips(t)
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.ship(3, 3)
	s.put("serving.yaml", "default: 3")
	s.look()
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("a release in one go:\n%s", &log)
	}
	s.Warm = func(*Hop) error { return errors.New("all scores are NaN") }
	s.ship(4, 4)
	s.put("serving.yaml", "default: 4")
	s.look()
	for name, says := range map[string]string{"the version": "a model version fails its trial", "the traffic": "traffic of a model is not as it is wanted"} {
		if strings.Count(log.String(), says) < 1 {
			t.Errorf("%s is not told:\n%s", name, &log)
		}
	}
	log.Reset()
	s.put("serving.yaml", "default: 4\naliases: {stable: 3}")
	s.look()
	s.ship(5, 5)
	s.look()
	if got := log.String(); strings.Count(got, "version=4") != 0 || strings.Count(got, "version=5") != 2 || strings.Contains(got, "traffic of a model") {
		t.Errorf("at other changes:\n%s", got)
	}
}

// TestAnUntriedVersionIsTriedAgain at each look, though nothing changes, and the version before answers meanwhile.
func TestAnUntriedVersionIsTriedAgain(t *testing.T) {
	s := newShips(t)
	trial := fmt.Errorf("%w: rows are being filled", ErrUntried)
	s.Warm = func(*Hop) error { return trial }
	s.ship(3, 3)
	answers := func(want int) {
		t.Helper()
		s.look()
		p, err := s.Find("ranker", 0)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Release()
		if p.Model.Number != want {
			t.Errorf("version %d answers, want %d", p.Model.Number, want)
		}
	}
	answers(2)
	if problem := s.Models()[2].Problem; problem == nil || problem.Error() != "it cannot be tried now: rows are being filled" {
		t.Errorf("%v", problem)
	}
	answers(2)
	trial = nil
	answers(3)
}
