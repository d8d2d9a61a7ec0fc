package rpc

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// jsonAnswer is an answer in JSON, or an error with the types of its details.
type jsonAnswer struct {
	Scores        []float64
	Code, Message string
	Details       []struct{ Type, Value string }
}

// postJSON asks for a prediction in JSON, by POST.
func (s *shop) postJSON(contentType, text string) jsonAnswer {
	s.t.Helper()
	call, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+onehopv1connect.InferenceServiceGetFeaturesAndPredictProcedure, strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	call.Header.Set("Content-Type", contentType)
	return s.doJSON(call)
}

// getJSON asks by GET.
func (s *shop) getJSON(text string) jsonAnswer {
	s.t.Helper()
	address := s.url + onehopv1connect.InferenceServiceGetFeaturesAndPredictProcedure + "?connect=v1&encoding=json&message=" + url.QueryEscape(text)
	call, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.doJSON(call)
}

func (s *shop) doJSON(call *http.Request) (answer jsonAnswer) {
	s.t.Helper()
	res, err := s.http.Do(call)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close(), json.Unmarshal(text, &answer)); err != nil {
		s.t.Fatalf("%v: %s", err, text)
	}
	return answer
}

// TestMisspeltJSON: a field that a message does not have, at any depth and however it is sent, is refused by its name; both spellings of
// those that it has are taken.
func TestMisspeltJSON(t *testing.T) {
	s := newShop(t)
	const good = `{"model":"ranker","entities":{"user_id":{"int64":["3"]}},"candidates":{"item_id":{"int64":["1","2"]}},"request":{"hour":{"double":[0.5]}},`
	ways := map[string]func(string) jsonAnswer{
		"POST":         func(text string) jsonAnswer { return s.postJSON("application/json", text) },
		"with charset": func(text string) jsonAnswer { return s.postJSON("application/json; charset=utf-8", text) },
		"GET":          s.getJSON,
	}
	for way, ask := range ways {
		for text, want := range map[string]string{
			good + `"topk":1}`: `unknown field "topk"`,
			`{"model":"ranker","candidates":{"item_id":{"int46":["1"]}}}`: `unknown field "int46"`,
			`{"model":7}`: "invalid value for string field model",
			"[]":          "the JSON is no onehop.v1.GetFeaturesAndPredictRequest",
			"":            "want a JSON object",
		} {
			if got := ask(text); got.Code != "invalid_argument" || !strings.Contains(got.Message, want) {
				t.Errorf("%s of %s: %+v, want %s", way, text, got, want)
			}
		}
		for _, text := range []string{good + `"topK":1}`, good + `"top_k":1}`} {
			if got := ask(text); len(got.Scores) != 1 {
				t.Errorf("%s of %s: %+v", way, text, got)
			}
		}
	}
	client := onehopv1connect.NewInferenceServiceClient(s.http, s.url, connect.WithProtoJSON())
	res, err := client.GetFeaturesAndPredict(t.Context(), ask(3))
	if err != nil || len(res.GetScores()) != 9 {
		t.Errorf("a generated client by JSON: %v, %v", res, err)
	}
}

// TestDetailsOfJSONErrors: an error to a caller by JSON has its details, as messages of any type.
func TestDetailsOfJSONErrors(t *testing.T) {
	s := newShop(t)
	client := onehopv1connect.NewInferenceServiceClient(s.http, s.url, connect.WithProtoJSON())
	req := ask(3)
	req.Priority = 7 // which the rules of the message refuse
	_, err := client.GetFeaturesAndPredict(t.Context(), req)
	var known *connect.Error
	if !errors.As(err, &known) || len(known.Details()) != 1 || known.Details()[0].Type() != "buf.validate.Violations" {
		t.Fatalf("%v, %+v", err, known)
	}
	if message, err := known.Details()[0].Value(); err != nil || !strings.Contains(message.(interface{ String() string }).String(), "priority") {
		t.Errorf("%v, %v", message, err)
	}
}
