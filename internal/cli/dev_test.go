package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/internal/app/dev"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// environment is a running `onehop dev`.
type environment struct {
	dev.Addresses
	out      *buffer
	features onehopv1connect.FeatureServiceClient
	stop     func() error
}

// start starts everything and waits until it says that it runs.
func start(t *testing.T, c dev.Config) *environment {
	t.Helper()
	e := &environment{out: &buffer{}}
	started, done := make(chan dev.Addresses, 1), make(chan error, 1)
	c.ServeListen, c.LogFormat, c.LogLevel, c.Poll = "127.0.0.1:0", "text", "warn", 20*time.Millisecond
	c.Out, c.Log = e.out, e.out
	c.Started = func(a dev.Addresses) { started <- a }
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- dev.Run(ctx, c) }()
	stopped := false
	e.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Error("stopping:", err)
		}
		if t.Failed() {
			t.Log(e.out.String())
		}
	})
	select {
	case e.Addresses = <-started:
	case err := <-done:
		stopped = true
		t.Fatalf("onehop dev ended: %v\n%s", err, e.out)
	case <-time.After(60 * time.Second):
		t.Fatalf("onehop dev did not start\n%s", e.out)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	e.features = onehopv1connect.NewFeatureServiceClient(client, e.Public["serve"], connect.WithProtoJSON())
	return e
}

// eventually calls f until it returns nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// push sends one rating.
func (e *environment) push(t *testing.T, user, movie int) {
	t.Helper()
	event := fmt.Sprintf(`{"user_id":%d,"movie_id":%d,"rating":4,"event_time":%d}`, user, movie, time.Now().UnixMicro())
	_, err := e.features.PushEvents(t.Context(), &onehopv1.PushEventsRequest{Source: "ratings", Events: []string{event}})
	if err != nil {
		t.Fatal(err)
	}
}

// count reads how many ratings are known of a user, by which version of definitions.
func (e *environment) count(t *testing.T, user int64) (count, version int64, err error) {
	t.Helper()
	res, err := e.features.GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{"user_ratings.count_lifetime"},
		Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{user}}},
	})
	if err != nil {
		return 0, 0, err
	}
	return res.GetColumns()[0].GetValues().GetInt64()[0], res.GetDefinitionsVersion(), nil
}

func (e *environment) waitCount(t *testing.T, user, want int64) {
	t.Helper()
	eventually(t, "reading a feature", func() error {
		got, _, err := e.count(t, user)
		if err == nil && got != want {
			err = fmt.Errorf("count is %d, not %d", got, want)
		}
		return err
	})
}

func TestDev(t *testing.T) {
	definitions := project(t, t.TempDir())
	config := dev.Config{Dir: definitions, Data: t.TempDir()}
	if err := os.Chmod(config.Data, 0o755); err != nil { // started by root, Postgres runs as somebody else
		t.Fatal(err)
	}
	_, missing := onnx.FindLibrary("")
	if missing == nil {
		config.Models, config.InferListen = t.TempDir(), "127.0.0.1:0"
	}
	e := start(t, config)
	if (e.Public["infer"] == "") != (missing != nil) {
		t.Errorf("infer is at %q, though: %v", e.Public["infer"], missing)
	}
	e.push(t, 7, 11)
	e.push(t, 7, 12)
	e.waitCount(t, 7, 2)
	t.Run("the printed command lines work", func(t *testing.T) { printedCalls(t, e) })
	t.Run("inspect", func(t *testing.T) { inspectUser(t, e) })
	t.Run("definitions are applied again", func(t *testing.T) { change(t, e, definitions) })
	t.Run("generate and health", func(t *testing.T) {
		mustRun(t, "generate", "--kafka", strings.Join(e.Kafka, ","), "--topic", "shop.ratings", "--count", "200", "--users", "2")
		eventually(t, "folding what was generated", func() error {
			got, _, err := e.count(t, 2)
			if err == nil && got < 10 {
				err = fmt.Errorf("count is %d", got)
			}
			return err
		})
		for _, admin := range e.Admin {
			mustRun(t, "health", admin+"/readyz")
		}
	})
	if err := e.query(t); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a query as spine, not allowed: %v", err)
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	if out := e.out.String(); strings.LastIndex(out, "Stopping the services") > strings.LastIndex(out, "Stopping the servers") {
		t.Error("the servers were stopped before the services:", out)
	}
	config.SQLSpines = true
	e = start(t, config)
	if err := e.query(t); err != nil {
		t.Errorf("a query as spine: %v", err)
	}
	e.waitCount(t, 7, 2)
	e.push(t, 7, 13)
	e.waitCount(t, 7, 3)
}

// query asks for a training set of one row, which is a query.
func (e *environment) query(t *testing.T) error {
	t.Helper()
	stream, err := e.features.GetTrainingSet(t.Context(), &onehopv1.GetTrainingSetRequest{
		Features: []string{"user_ratings.*"},
		Spine:    &onehopv1.GetTrainingSetRequest_Sql{Sql: "SELECT 7::bigint AS user_id, now() AS event_time"},
	})
	if err != nil {
		return err
	}
	for stream.Receive() {
	}
	return errors.Join(stream.Err(), stream.Close())
}

// printedCalls makes the calls that the curl lines make.
func printedCalls(t *testing.T, e *environment) {
	calls := 0
	for line := range strings.Lines(e.out.String()) {
		url, body, ok := strings.Cut(strings.TrimSpace(line), " -H 'Content-Type: application/json' -d ")
		if !ok {
			continue
		}
		calls++
		url = strings.TrimPrefix(url, "curl -s ")
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(strings.Trim(body, "'")))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", line, response.Status, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if calls != 2 {
		t.Errorf("%d calls are printed", calls)
	}
}

func inspectUser(t *testing.T, e *environment) {
	args := []string{"inspect", "user", "7", "--namespace", "shop", "--redis", e.Redis, "--postgres", e.Postgres}
	var got struct {
		Views []struct {
			Marker   string
			RowBytes int              `json:"row_bytes"`
			RedisKey string           `json:"redis_key"`
			Marks    map[string]int64 `json:"watermarks"`
			Values   []struct {
				Name, Status string
				Value        any
			}
			Kept  []struct{ Entries []struct{ Value int64 } }
			Tiles []struct {
				Hop      string
				Count    int
				Partials []string
			}
		}
	}
	if err := json.Unmarshal([]byte(mustRun(t, append(args, "--json")...)), &got); err != nil {
		t.Fatal(err)
	}
	v := got.Views[0]
	if v.Marker != "live" || v.RowBytes == 0 || len(v.Marks) != 4 || !strings.HasSuffix(v.RedisKey, "}:7") {
		t.Errorf("%+v", v)
	}
	if v.Values[0].Name != "count_1h" || v.Values[0].Value != 2.0 || v.Values[0].Status != "PRESENT" {
		t.Errorf("values %+v", v.Values)
	}
	if kept := v.Kept[0].Entries; len(kept) != 2 || kept[0].Value != 12 {
		t.Errorf("kept %+v", v.Kept)
	}
	if len(v.Tiles) != 2 || v.Tiles[0].Hop != "lifetime" || v.Tiles[0].Count != 1 {
		t.Errorf("tiles %+v", v.Tiles)
	}
	text := mustRun(t, append(args, "--tiles")...)
	for _, want := range []string{"user 7: namespace shop", "live", "count_1h", "tiles 1m", "last_movies", "watermark"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	if out := mustRun(t, "inspect", "user", "8", "--namespace", "shop", "--redis", e.Redis, "--postgres", e.Postgres); !strings.Contains(out, "NOT_FOUND") {
		t.Error(out)
	}
	code, _, complaints := run(t, "inspect", "pair", "8", "--namespace", "shop", "--redis", e.Redis, "--postgres", e.Postgres)
	if code != 1 || !strings.Contains(complaints, "give 2 arguments") {
		t.Errorf("exit status %d: %s", code, complaints)
	}
}

// change breaks the definitions, which must change nothing, and then changes them.
func change(t *testing.T, e *environment, dir string) {
	if err := os.WriteFile(filepath.Join(dir, "more.yaml"), []byte("viewz: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "telling the mistake", func() error {
		if !strings.Contains(e.out.String(), "more.yaml:1:1") {
			return errors.New("it is not told")
		}
		return nil
	})
	if _, version, err := e.count(t, 7); err != nil || version != 1 {
		t.Fatalf("version %d, %v", version, err)
	}
	if err := os.Remove(filepath.Join(dir, "more.yaml")); err != nil {
		t.Fatal(err)
	}
	project(t, dir, "n: 3", "n: 4")
	eventually(t, "serving the new version", func() error {
		count, version, err := e.count(t, 7)
		if err == nil && (version != 2 || count != 2) {
			err = fmt.Errorf("version %d, count %d", version, count)
		}
		return err
	})
}
