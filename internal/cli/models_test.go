package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/switches"
	"github.com/onehop/onehop/inference/traffic"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

const modelDefinitions = `
entities: [{name: visitor, keys: [{name: visitor_id, type: int64}]}]
sources:
  - {name: visits, format: json, event_time: {field: at, unit: us}, fields: [{name: visitor_id, type: int64, required: true}]}
views: [{name: visits_of, entity: visitor, source: visits, features: [{name: n, aggregate: count, windows: [lifetime]}]}]
services: [{name: visitors, features: [visits_of.*]}]
models: [{name: ranker, service: visitors, candidates: visitor}]
`

func newModels(t *testing.T) *shop {
	t.Helper()
	s := newShop(t)
	s.write(t, "definitions/models.yaml", modelDefinitions)
	mustRun(t, append([]string{"apply", s.file("definitions")}, s.flags...)...)
	return s
}

// models runs a command of models against the shop's Postgres.
func (s *shop) models(t *testing.T, args ...string) (code int, out, told string) {
	t.Helper()
	return run(t, append(append([]string{"models"}, args...), s.flags...)...)
}

// TestHistoryOfNothing: a model that nobody switched is said to be so, and one that nobody knows is an error.
func TestHistoryOfNothing(t *testing.T) {
	s := newModels(t)
	for _, format := range []string{"", "[]"} {
		var flags []string
		if format != "" {
			flags = []string{"--json"}
		}
		code, out, told := s.models(t, append([]string{"history", "nope"}, flags...)...)
		if code != 1 || strings.TrimSpace(out) != format || !strings.Contains(told, `there is no model "nope" in the definitions of namespace`) {
			t.Errorf("of a model that nobody knows: %d\n%s%s", code, out, told)
		}
		code, out, told = s.models(t, append([]string{"history", "ranker"}, flags...)...)
		if code != 0 || strings.TrimSpace(out) != format || !strings.Contains(told, `model "ranker" was never switched by hand`) {
			t.Errorf("of a model that nobody switched: %d\n%s%s", code, out, told)
		}
	}
}

// TestHistoryOfSuperseded: a switch that a later one overtook says so, and is not said to be on its way.
func TestHistoryOfSuperseded(t *testing.T) {
	s := newModels(t)
	store := switches.New(s.pool, s.namespace)
	for _, version := range []string{"2", "3"} {
		_, err := store.Switch(t.Context(), switches.Change{Model: "ranker", Action: switches.Set, Traffic: traffic.Traffic{Default: version}, Who: "ada"})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, out, _ := s.models(t, "history", "ranker")
	if strings.Count(out, "no instance of infer has taken it yet") != 1 || !strings.Contains(out, "superseded by switch "+strings.Fields(out)[1]+" before any instance of infer took it") {
		t.Errorf("%s", out)
	}
}

// refusing are models without versions.
type refusing struct{ live map[string]traffic.Live }

func (r *refusing) Steer(live map[string]traffic.Live) { r.live = live }

func (r *refusing) Outcomes() map[string]traffic.Outcome {
	outcomes := map[string]traffic.Outcome{}
	for model, live := range r.live {
		outcomes[model] = traffic.Outcome{Switch: live.Switch}
		if live.Traffic.Default != "" {
			outcomes[model] = traffic.Outcome{Switch: live.Switch, Problem: "there is no version " + live.Traffic.Default}
		}
	}
	return outcomes
}

// infer follows the switches as these instances, and lists the models of one.
func (s *shop) infer(t *testing.T, instances map[string]switches.Models) *httptest.Server {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	for name, models := range instances {
		follower, err := switches.Follow(ctx, switches.New(s.pool, s.namespace), models, name, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { _ = follower.Run(ctx) }) // it returns nil
	}
	_, handler := onehopv1connect.NewInferenceServiceHandler(&listing{})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// slow are models that take everything, and the time for it.
type slow struct{ refusing }

func (s *slow) Steer(live map[string]traffic.Live) {
	<-time.After(150 * time.Millisecond)
	s.live = live
}

// TestSwitchHearsAllInstances: it waits for those that speak late, and fails when one of them refuses.
func TestSwitchHearsAllInstances(t *testing.T) {
	s := newModels(t)
	infer := s.infer(t, map[string]switches.Models{"refuses": &refusing{}, "slow": &slow{}})
	code, out, told := s.models(t, "switch", "ranker", "--default", "8", "--who", "ada", "--infer", infer.URL)
	if code != 1 || !strings.Contains(out, "refuses: refused") || !strings.Contains(out, "slow: ") {
		t.Errorf("%d\n%s%s", code, out, told)
	}
}

// TestRollbackOfRefused: what is refused says how to get out, and the rollback does, past all that was refused; the record says where to.
func TestRollbackOfRefused(t *testing.T) {
	s := newModels(t)
	infer := s.infer(t, map[string]switches.Models{"a": &refusing{}})
	for _, version := range []string{"7", "8"} {
		code, out, told := s.models(t, "switch", "ranker", "--default", version, "--who", "ada", "--infer", infer.URL)
		if code != 1 || !strings.Contains(out, "refused: there is no version "+version) || !strings.Contains(told, "onehop models rollback ranker, ") ||
			!strings.Contains(told, "--to SWITCH") || !strings.Contains(told, "onehop models switch ranker --from-file") {
			t.Errorf("%d\n%s%s", code, out, told)
		}
	}
	code, out, told := s.models(t, "rollback", "ranker", "--who", "ada")
	if code != 0 || !strings.Contains(out, "ranker: rollback to before any switch, by ada") || !strings.Contains(out, "is:  as serving.yaml says") || !strings.Contains(out, "a: taken") {
		t.Errorf("%d\n%s%s", code, out, told)
	}
	if strings.Contains(told, "tried again") {
		t.Errorf("a state that nobody refused: %s", told)
	}
	history := mustRun(t, append([]string{"models", "history", "ranker", "--json"}, s.flags...)...)
	if strings.Count(history, `"back_to": 0`) != 1 {
		t.Errorf("%s", history)
	}
	var made []switches.Switch
	if err := json.Unmarshal([]byte(history), &made); err != nil {
		t.Fatal(err)
	}
	refused := made[1].ID
	code, out, told = s.models(t, "rollback", "ranker", "--to", strconv.FormatInt(refused, 10), "--who", "ada", "--json")
	want := fmt.Sprintf("Switch %d is tried again, though a refused it at %s: there is no version 8\n", refused, made[1].Outcomes[0].At.UTC().Format(time.RFC3339))
	if code != 1 || !strings.HasPrefix(told, want) || !strings.Contains(out, fmt.Sprintf(`"back_to": %d,`, refused)) {
		t.Errorf("%d\n%s%s\nwant %s", code, out, told, want)
	}
	if code, _, told := s.models(t, "rollback", "ranker", "--to", "1000000000", "--who", "ada"); code != 1 || !strings.Contains(told, "there is no such state") {
		t.Errorf("to a state that is not there: %d\n%s", code, told)
	}
}

// listing is an infer that only lists its routes.
type listing struct {
	onehopv1connect.UnimplementedInferenceServiceHandler
	aliases   map[string]int64
	namespace string
}

func (l *listing) ListModels(context.Context, *onehopv1.ListModelsRequest) (*onehopv1.ListModelsResponse, error) {
	return &onehopv1.ListModelsResponse{
		Models:    []*onehopv1.Model{{Name: "bare", Problem: "it has no version"}, {Name: "ranker", Version: 2}},
		Routes:    []*onehopv1.Route{{Model: "ranker", Traffic: &onehopv1.Traffic{Aliases: l.aliases}}},
		Namespace: l.namespace,
	}, nil
}

// TestSwitchInAnotherNamespace: infer would not follow it, and it is not stored.
func TestSwitchInAnotherNamespace(t *testing.T) {
	s := newModels(t)
	there := &listing{namespace: "other"}
	_, handler := onehopv1connect.NewInferenceServiceHandler(there)
	infer := httptest.NewServer(handler)
	defer infer.Close()
	take := func() (int, string, string) {
		return s.models(t, "switch", "ranker", "--default", "2", "--wait", "0s", "--who", "ada", "--infer", infer.URL)
	}
	if code, out, told := take(); code != 1 || out != "" || !strings.Contains(told, `serves namespace "other"`) || !strings.Contains(told, "--namespace other") {
		t.Errorf("%d\n%s%s", code, out, told)
	}
	there.namespace = s.namespace
	if code, out, told := take(); code != 0 || !strings.Contains(out, `{"default":"2"}`) {
		t.Errorf("%d\n%s%s", code, out, told)
	}
	if code, _, told := s.models(t, "switch", "ranker", "--by", "user", "--infer", infer.URL); code != 64 || !strings.Contains(told, "--ab NAME=VERSION:PERCENT") {
		t.Errorf("--by alone: %d\n%s", code, told)
	}
	if code, _, told := s.models(t, "switch", "ranker", "--default", "2", "--reason", strings.Repeat("é", 1025), "--infer", infer.URL); code != 64 || !strings.Contains(told, "1024 characters") {
		t.Errorf("a long reason: %d\n%s", code, told)
	}
}

// TestAliasThatIsNotThere: it cannot be taken away, and the error says which can; nothing is switched then.
func TestAliasThatIsNotThere(t *testing.T) {
	s := newModels(t)
	_, handler := onehopv1connect.NewInferenceServiceHandler(&listing{aliases: map[string]int64{"stable": 1, "gone": 0}})
	infer := httptest.NewServer(handler)
	defer infer.Close()
	take := func(alias, infer string) (int, string, string) {
		return s.models(t, "switch", "ranker", "--alias", alias+"=0", "--wait", "0s", "--who", "ada", "--infer", infer)
	}
	for _, alias := range []string{"nope", "gone"} {
		code, out, told := take(alias, infer.URL)
		if code != 1 || out != "" || !strings.Contains(told, `there is no alias "`+alias+`" to take away; there are: "stable"`) {
			t.Errorf("%d\n%s%s", code, out, told)
		}
	}
	if _, out, _ := s.models(t, "history", "ranker"); out != "" {
		t.Errorf("something was switched: %s", out)
	}
	if code, out, told := take("stable", infer.URL); code != 0 || !strings.Contains(out, `{"aliases":{"stable":0}}`) || told != "" {
		t.Errorf("%d\n%s%s", code, out, told)
	}
	if code, out, told := take("nope", "http://127.0.0.1:1"); code != 0 || !strings.Contains(out, `"nope":0`) || !strings.Contains(told, "was not looked up") {
		t.Errorf("without infer: %d\n%s%s", code, out, told)
	}
	// One that was switched, though no instance took it: it is there to be taken away, once.
	switched := traffic.Traffic{Aliases: map[string]int64{"x": 9}}
	if _, err := switches.New(s.pool, s.namespace).Switch(t.Context(), switches.Change{Model: "ranker", Action: switches.Set, Traffic: switched, Who: "ada"}); err != nil {
		t.Fatal(err)
	}
	if code, out, told := take("x", infer.URL); code != 0 || !strings.Contains(out, `"x":0`) {
		t.Errorf("%d\n%s%s", code, out, told)
	}
	if code, _, told := take("x", infer.URL); code != 1 || !strings.Contains(told, `there is no alias "x" to take away; there are: "stable"`) {
		t.Errorf("%d\n%s", code, told)
	}
	if out := mustRun(t, "models", "list", "--infer", infer.URL); !strings.Contains(strings.Join(strings.Fields(out), " "), "bare none it has no version") {
		t.Errorf("%s", out)
	}
}

// TestSwitchOfAModelThatIsNotThere: infer is asked before anything is stored; while it is away the switch is stored and that is said. What was
// switched, and is gone since, may be given back to its file.
func TestSwitchOfAModelThatIsNotThere(t *testing.T) {
	s := newModels(t)
	_, handler := onehopv1connect.NewInferenceServiceHandler(&listing{})
	infer := httptest.NewServer(handler)
	defer infer.Close()
	change := func(infer string, args ...string) (int, string, string) {
		return s.models(t, append([]string{"switch", "nope", "--wait", "0s", "--who", "ada", "--infer", infer}, args...)...)
	}
	for _, args := range [][]string{{"--default", "1"}, {"--from-file"}} {
		code, out, told := change(infer.URL, args...)
		if code != 1 || out != "" || !strings.Contains(told, `has no model "nope", and nothing was switched`) {
			t.Errorf("%v: %d\n%s%s", args, code, out, told)
		}
	}
	if _, out, _ := s.models(t, "history", "nope"); out != "" {
		t.Errorf("something was switched: %s", out)
	}
	if code, out, told := change("http://127.0.0.1:1", "--default", "1"); code != 0 || !strings.Contains(out, `{"default":"1"}`) || !strings.Contains(told, `Whether infer has model "nope"`) {
		t.Errorf("without infer: %d\n%s%s", code, out, told)
	}
	if code, out, told := change(infer.URL, "--from-file"); code != 0 || !strings.Contains(out, ": back to its serving.yaml, by ") {
		t.Errorf("%d\n%s%s", code, out, told)
	}
}

// TestVersionsOfFlags: what is no version is said to be none, also where it looks like a flag.
func TestVersionsOfFlags(t *testing.T) {
	for text, want := range map[string]string{
		"-1":  `default: "-1" is no version: want a whole number from 1, an alias or newest`,
		"1.5": `default: "1.5" is no version`,
		"--x": "expected version value but got",
	} {
		code, _, told := run(t, "models", "switch", "ranker", "--default", text, "--postgres", "postgres://127.0.0.1:1/nowhere")
		if code != 64 || !strings.Contains(told, want) {
			t.Errorf("%s: %d\n%s", text, code, told)
		}
	}
}

// missing is an infer of two versions, the first of which may answer by default, where not all that is wanted is there.
type missing struct {
	onehopv1connect.UnimplementedInferenceServiceHandler
	answers bool
	route   *onehopv1.Route
}

func (m *missing) ListModels(context.Context, *onehopv1.ListModelsRequest) (*onehopv1.ListModelsResponse, error) {
	return &onehopv1.ListModelsResponse{
		Models: []*onehopv1.Model{{Name: "ranker", Version: 1, Default: m.answers}, {Name: "ranker", Version: 2, Problem: "one\ntwo\nthree"}}, Routes: []*onehopv1.Route{m.route},
	}, nil
}

// TestListAndShowTellOfAMissingDefault: both say what is wrong, and neither that somebody gets the version.
func TestListAndShowTellOfAMissingDefault(t *testing.T) {
	_, handler := onehopv1connect.NewInferenceServiceHandler(&missing{route: &onehopv1.Route{
		Model: "ranker", File: true, Traffic: &onehopv1.Traffic{DefaultVersion: "7"}, Problem: `default: model "ranker" has no version 7`,
	}})
	infer := httptest.NewServer(handler)
	defer infer.Close()
	const problem = `what is wanted is not in force: default: model "ranker" has no version 7`
	list := strings.Split(mustRun(t, "models", "list", "--infer", infer.URL), "\n")
	if got, want := strings.Join(strings.Fields(list[1]), " "), "ranker all no default "+problem; got != want || strings.Contains(strings.Join(list[2:], ""), problem) {
		t.Errorf("%q, want %q once", list, want)
	}
	if second := strings.Join(strings.Fields(list[3]), " "); second != "ranker 2 one (and 2 more: onehop models show)" {
		t.Errorf("%q of three mistakes", second)
	}
	show := mustRun(t, "models", "show", "ranker", "--infer", infer.URL)
	if want := "ranker: requests that name no version are not answered: they are for 7, which is not to be had\n" + problem + "\n"; !strings.HasPrefix(show, want) {
		t.Errorf("%s\nwant %s", show, want)
	}
}

// TestShowTellsOfADefaultThatNobodyKnows: not that the newest is not to be had.
func TestShowTellsOfADefaultThatNobodyKnows(t *testing.T) {
	_, handler := onehopv1connect.NewInferenceServiceHandler(&missing{route: &onehopv1.Route{Model: "ranker", File: true, DefaultUnknown: true, Problem: "serving.yaml:1:10: wrong"}})
	infer := httptest.NewServer(handler)
	defer infer.Close()
	want := "ranker: requests that name no version are not answered: its serving.yaml, which may name the default version, cannot be read\n" +
		"what is wanted is not in force: serving.yaml:1:10: wrong\n"
	if show := mustRun(t, "models", "show", "ranker", "--infer", infer.URL); !strings.HasPrefix(show, want) {
		t.Errorf("%s\nwant %s", show, want)
	}
}

// TestSwitchToABadVersion warns of it, and switches: it may be served until the next start, and be better than what there is.
func TestSwitchToABadVersion(t *testing.T) {
	s := newModels(t)
	_, handler := onehopv1connect.NewInferenceServiceHandler(&missing{route: &onehopv1.Route{Model: "ranker", Traffic: &onehopv1.Traffic{Aliases: map[string]int64{"next": 2}}}})
	infer := httptest.NewServer(handler)
	defer infer.Close()
	for version, bad := range map[string]bool{"1": false, "2": true, "next": true, "newest": false} {
		code, out, told := s.models(t, "switch", "ranker", "--default", version, "--wait", "0s", "--who", "ada", "--infer", infer.URL)
		warned := strings.Contains(told, "Version 2 of ranker has a problem, and where infer starts it may not be served: one (and 2 more: onehop models show)\n")
		if code != 0 || !strings.Contains(out, `{"default":"`+version+`"}`) || warned != bad {
			t.Errorf("%s: %d\n%s%s", version, code, out, told)
		}
	}
}

// TestListAndShowTellOfAliasesOfNothing: each is named with what is wrong, and the rest is said to be in force.
func TestListAndShowTellOfAliasesOfNothing(t *testing.T) {
	_, handler := onehopv1connect.NewInferenceServiceHandler(&missing{answers: true, route: &onehopv1.Route{
		Model: "ranker", File: true, Traffic: &onehopv1.Traffic{DefaultVersion: "1", Aliases: map[string]int64{"next": 7, "old": 8}}, RestInForce: true,
		Problem: "alias next: model \"ranker\" has no version 7\nalias old: model \"ranker\" has no version 8",
	}})
	infer := httptest.NewServer(handler)
	defer infer.Close()
	const problem = `all that is wanted is in force but alias next: model "ranker" has no version 7; alias old: model "ranker" has no version 8`
	list := strings.Split(mustRun(t, "models", "list", "--infer", infer.URL), "\n")
	if got, want := strings.Join(strings.Fields(list[1]), " "), "ranker all "+problem; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if show, want := mustRun(t, "models", "show", "ranker", "--infer", infer.URL), "because of its serving.yaml\n"+problem+"\n"; !strings.Contains(show, want) {
		t.Errorf("%s\nwant it to have %s", show, want)
	}
}
