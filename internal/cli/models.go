package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/onehop/onehop/internal/config"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// modelsCommand is for the versions of models, and who gets which.
type modelsCommand struct {
	List     modelsListCommand     `cmd:"" help:"List the versions of all models, and what is wrong with them."`
	Show     modelsShowCommand     `cmd:"" help:"Show which versions of a model answer, and why."`
	Switch   modelsSwitchCommand   `cmd:"" help:"Change which versions of a model answer."`
	Rollback modelsRollbackCommand `cmd:"" help:"Go back to the state that was in force before the last switch, or to an earlier one."`
	History  modelsHistoryCommand  `cmd:"" help:"Show who switched what, when and why, and what became of it."`
}

// Help is printed by --help.
func (*modelsCommand) Help() string {
	return "A version is a directory in the model repository; infer loads it by itself. Which versions answer is said by " +
		"serving.yaml beside them, and over it by what is switched here: it is stored in Postgres, and all instances of infer " +
		"take it at once.\n\n" +
		"Example:\n\n    onehop models list\n    onehop models switch movie_ranker --canary 2:5 --reason 'new loss'\n    onehop models rollback movie_ranker"
}

// inferFlags name a running infer.
type inferFlags struct {
	Infer string `env:"ONEHOP_INFER" default:"http://127.0.0.1:8082" placeholder:"URL" help:"The address of infer."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// Check returns everything that is wrong with the flags.
func (f *inferFlags) Check() error { return config.CheckURL("--infer", f.Infer, "http", "https") }

func (f *inferFlags) models(ctx context.Context) (*onehopv1.ListModelsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	client := onehopv1connect.NewInferenceServiceClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, f.Infer)
	list, err := client.ListModels(ctx, &onehopv1.ListModelsRequest{})
	if err != nil {
		return nil, fmt.Errorf("cannot ask infer for its models: is it running, and does --infer (ONEHOP_INFER) name it? %w", err)
	}
	return list, nil
}

// modelsListCommand lists versions.
type modelsListCommand struct {
	inferFlags `embed:""`
}

// Run lists.
func (c *modelsListCommand) Run(ctx context.Context, s Streams) error {
	list, err := c.models(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeMessage(s.Out, list)
	}
	t := newTable(s.Out)
	t.row("model", "version", "answers", "sha256", "problem")
	for i, m := range list.GetModels() {
		route := routeOf(list, m.GetName())
		if first := i == 0 || list.GetModels()[i-1].GetName() != m.GetName(); first && route.GetProblem() != "" {
			lacking := ""
			if !hasDefault(list, m.GetName()) {
				lacking = "no default"
			}
			problem := firstOf(notInForce(route))
			t.row(m.GetName(), "all", lacking, "", problem)
		}
		problem := firstOf(m.GetProblem())
		if off := m.GetCachesOff(); problem == "" && len(off) > 0 {
			problem = "cache " + strings.Join(off, " and ") + " off: costs more than it saves"
		}
		version := "none" // of a model without versions
		if m.GetVersion() > 0 {
			version = strconv.FormatInt(m.GetVersion(), 10)
		}
		t.row(m.GetName(), version, strings.Join(roles(m, route), ", "), m.GetSha256()[:min(12, len(m.GetSha256()))], problem)
	}
	t.flush()
	return nil
}

// firstOf is the first of several mistakes, each on a line of its own, and says how many more there are.
func firstOf(problem string) string {
	first, others, more := strings.Cut(strings.TrimRight(problem, "\n"), "\n")
	if !more {
		return first
	}
	return fmt.Sprintf("%s (and %d more: onehop models show)", first, 1+strings.Count(others, "\n"))
}

// notInForce says what is wrong with the traffic of a model: on the first line all that there is room for in a list.
func notInForce(r *onehopv1.Route) string {
	if !r.GetRestInForce() {
		return "what is wanted is not in force: " + r.GetProblem()
	}
	aliases := strings.ReplaceAll(r.GetProblem(), "\n", "; ") // each has a line
	return "all that is wanted is in force but " + aliases
}

// routeOf is that of a model, nil when there is none.
func routeOf(list *onehopv1.ListModelsResponse, model string) *onehopv1.Route {
	for _, r := range list.GetRoutes() {
		if r.GetModel() == model {
			return r
		}
	}
	return nil
}

// hasDefault says that a version of the model answers the requests that name none.
func hasDefault(list *onehopv1.ListModelsResponse, model string) bool {
	return slices.ContainsFunc(list.GetModels(), func(m *onehopv1.Model) bool { return m.GetName() == model && m.GetDefault() })
}

// roles are what a version does: default, canary 5 %, alias stable …
func roles(m *onehopv1.Model, route *onehopv1.Route) []string {
	traffic := route.GetTraffic()
	is := func(version string) bool {
		n, err := strconv.ParseInt(version, 10, 64)
		if err != nil {
			n = traffic.GetAliases()[version]
		}
		return n == m.GetVersion()
	}
	var list []string
	add := func(name, version string, percent float64) {
		if percent > 0 && is(version) {
			list = append(list, fmt.Sprintf("%s %v %%", name, percent))
		}
	}
	if m.GetDefault() {
		list = append(list, "default")
	}
	canary, shadow := traffic.GetSplit().GetCanary(), traffic.GetShadow()
	add("canary", canary.GetVersion(), canary.GetPercent())
	for _, v := range traffic.GetSplit().GetAb().GetVariants() {
		add("variant "+v.GetName(), v.GetVersion(), v.GetPercent())
	}
	add("shadow", shadow.GetVersion(), shadow.GetPercent())
	for alias, version := range traffic.GetAliases() {
		if version == m.GetVersion() {
			list = append(list, "alias "+alias)
		}
	}
	slices.Sort(list)
	return list
}

// modelsShowCommand shows one model.
type modelsShowCommand struct {
	Model      string `arg:"" help:"Name of the model."`
	inferFlags `embed:""`
}

// Run shows.
func (c *modelsShowCommand) Run(ctx context.Context, s Streams) error {
	list, err := c.models(ctx)
	if err != nil {
		return err
	}
	route := routeOf(list, c.Model)
	if route == nil {
		return fmt.Errorf("infer has no model %q: onehop models list shows those it has", c.Model)
	}
	if c.JSON {
		return writeMessage(s.Out, route)
	}
	writeRoute(s.Out, route, hasDefault(list, c.Model))
	for _, m := range list.GetModels() {
		if m.GetName() == c.Model && m.GetProblem() != "" {
			if m.GetVersion() > 0 {
				fmt.Fprintf(s.Out, "version %d: ", m.GetVersion())
			}
			fmt.Fprintln(s.Out, m.GetProblem())
		}
	}
	return nil
}

// writeRoute prints who gets what; answers says that somebody answers the requests that name no version.
func writeRoute(w io.Writer, r *onehopv1.Route, answers bool) {
	t := r.GetTraffic()
	version := t.GetDefaultVersion()
	if version == "" || version == "newest" {
		version = "the newest that can be served"
	}
	switch {
	case r.GetDefaultUnknown():
		fmt.Fprintf(w, "%s: requests that name no version are not answered: its serving.yaml, which may name the default version, cannot be read\n", r.GetModel())
	case answers:
		fmt.Fprintf(w, "%s: requests that name no version get %s\n", r.GetModel(), version)
	default:
		fmt.Fprintf(w, "%s: requests that name no version are not answered: they are for %s, which is not to be had\n", r.GetModel(), version)
	}
	if c := t.GetSplit().GetCanary(); c.GetPercent() > 0 {
		fmt.Fprintf(w, "  canary: version %s gets %v %% of them\n", c.GetVersion(), c.GetPercent())
	}
	if ab := t.GetSplit().GetAb(); ab != nil {
		fmt.Fprintf(w, "  A/B test by %s instead:\n", ab.GetBy())
		for _, v := range ab.GetVariants() {
			fmt.Fprintf(w, "    %s: version %s, %v %%\n", v.GetName(), v.GetVersion(), v.GetPercent())
		}
	}
	if sh := t.GetShadow(); sh.GetPercent() > 0 {
		fmt.Fprintf(w, "  shadow: version %s answers %v %% once more, unseen\n", sh.GetVersion(), sh.GetPercent())
	}
	for _, alias := range slices.Sorted(maps.Keys(t.GetAliases())) {
		fmt.Fprintf(w, "  alias %s: version %d\n", alias, t.GetAliases()[alias])
	}
	because := "because nobody said otherwise"
	switch {
	case r.GetSwitchId() > 0 && r.GetFile():
		because = fmt.Sprintf("because of switch %d and its serving.yaml", r.GetSwitchId())
	case r.GetSwitchId() > 0:
		because = fmt.Sprintf("because of switch %d", r.GetSwitchId())
	case r.GetFile():
		because = "because of its serving.yaml"
	}
	if r.GetProblem() == "" || r.GetRestInForce() {
		fmt.Fprintln(w, because)
	}
	if r.GetProblem() != "" {
		fmt.Fprintln(w, notInForce(r))
	}
}

// writeMessage prints a message as JSON, with the names of the .proto files.
func writeMessage(w io.Writer, message proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(message)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return writeJSON(w, json.RawMessage(text)) // whose spaces protojson varies on purpose
}
