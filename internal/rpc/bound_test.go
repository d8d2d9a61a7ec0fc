package rpc

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

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
