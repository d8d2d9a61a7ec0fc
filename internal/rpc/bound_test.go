package rpc

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/onehop/onehop/internal/server"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// TestMoreRequestsThanAreAnsweredAtATime: those beyond are refused at once in the caller's protocol, with a time to try again, and not
// when there is room again.
func TestMoreRequestsThanAreAnsweredAtATime(t *testing.T) {
	const most = 2
	came, leave := make(chan struct{}), make(chan struct{})
	bound := newBound(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		came <- struct{}{}
		<-leave
		w.WriteHeader(http.StatusNotImplemented)
	}), most, prometheus.NewRegistry())
	server := httptest.NewServer(bound)
	defer server.Close()
	for name, options := range map[string][]connect.ClientOption{"Connect": nil, "JSON": {connect.WithProtoJSON()}, "gRPC-Web": {connect.WithGRPCWeb()}} {
		client := onehopv1connect.NewInferenceServiceClient(server.Client(), server.URL, options...)
		ask := func() connect.Code {
			_, err := client.ListModels(t.Context(), &onehopv1.ListModelsRequest{})
			return connect.CodeOf(err)
		}
		var answered sync.WaitGroup
		for range most {
			answered.Go(func() {
				if code := ask(); code != connect.CodeUnimplemented && code != connect.CodeUnknown {
					t.Errorf("%s: %s", name, code)
				}
			})
			<-came
		}
		_, err := client.ListModels(t.Context(), &onehopv1.ListModelsRequest{})
		refused, ok := errors.AsType[*connect.Error](err)
		if !ok || refused.Code() != connect.CodeResourceExhausted || len(refused.Details()) != 1 {
			t.Fatalf("%s: %v", name, err)
		}
		detail, err := refused.Details()[0].Value()
		if info, ok := detail.(*errdetails.RetryInfo); err != nil || !ok || info.GetRetryDelay().AsDuration() != retryBusy {
			t.Errorf("%s: the hint is %v, %v", name, detail, err)
		}
		if n := bound.now.Load(); n != most {
			t.Errorf("%s: %d requests are being answered", name, n)
		}
		leave <- struct{}{}
		leave <- struct{}{}
		answered.Wait()
	}
	if n := testutil.ToFloat64(bound.refused); n != 3 {
		t.Errorf("%v were counted", n)
	}
}

// TestNothingIsKeptThatDoesNotSaySo: of an answer to a GET, an error too, that says nothing about caches they are told, whoever wrote it.
func TestNothingIsKeptThatDoesNotSaySo(t *testing.T) {
	status, says := 0, ""
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if says != "" {
			w.Header().Set("Cache-Control", says)
		}
		if status != 0 {
			w.WriteHeader(status)
		}
		_, _ = io.WriteString(w, "x")
	})
	most := int64(1)
	for _, c := range []struct {
		method     string
		most       int64
		status     int
		says, want string
	}{
		{http.MethodGet, most, http.StatusNotImplemented, "", "no-store"},
		{http.MethodGet, most, http.StatusNotFound, "max-age=9", "max-age=9"},
		{http.MethodGet, most, http.StatusOK, "", "no-store"},
		{http.MethodGet, most, 0, "", "no-store"}, // which is not said
		{http.MethodGet, most, 0, "max-age=9", "max-age=9"},
		{http.MethodGet, 0, http.StatusOK, "", "no-store"}, // too many
		{http.MethodPost, most, http.StatusNotImplemented, "", ""},
	} {
		status, says = c.status, c.says
		answer := httptest.NewRecorder()
		newBound(handler, c.most, prometheus.NewRegistry()).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), c.method, "/", http.NoBody))
		if got := answer.Header().Get("Cache-Control"); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestAMessageInTheQueryThatIsNone: it is the caller's mistake, as one in a body is.
func TestAMessageInTheQueryThatIsNone(t *testing.T) {
	metrics := prometheus.NewRegistry()
	path, handler := onehopv1connect.NewInferenceServiceHandler(slowly{})
	service := httptest.NewServer(Mux(server.NewHealth(), metrics, onehopv1connect.InferenceServiceName, path, handler))
	defer service.Close()
	for message, want := range map[string]string{
		"message=e30&base64=1":     "",
		"message=e30=&base64=1":    "",
		"message=%7B%7D":           "",
		"base64=1&message=e30%20":  `"invalid_argument","message":"message: it is no URL-safe base64: illegal base64 data`,
		"base64=1&message=%2B%2F0": `"invalid_argument","message":"message: it is no URL-safe base64: illegal base64 data`,
		"message=%7B":              `"invalid_argument"`,
	} {
		url := service.URL + onehopv1connect.InferenceServiceListModelsProcedure + "?connect=v1&encoding=json&" + message
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := service.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if ok := want == ""; (response.StatusCode == http.StatusOK) != ok || !ok && response.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d %s, want %s", message, response.StatusCode, text, want)
		}
	}
}
