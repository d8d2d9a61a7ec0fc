package oip_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/oip/oiptest"
	"github.com/onehop/onehop/schemas/inference"
	"github.com/onehop/onehop/schemas/inference/inferenceconnect"
)

const benchWidth = 64

// ranker is a server whose model takes 64 features and answers at once, with the same scores always.
func ranker(tb testing.TB) *oiptest.Server {
	tb.Helper()
	server := oiptest.Start(tb)
	described := oiptest.Describe("ranker", "FP32", "FP32")
	described.Inputs[0].Shape[1] = benchWidth
	scores := make([]byte, 4*1000)
	server.Behave(oiptest.Behaviour{Metadata: described, Infer: func(_ context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		rows := int(req.GetInputs()[0].GetShape()[0])
		return oiptest.Answer(rows, "FP32", scores[:4*rows]), nil
	}})
	return server
}

var benchRows = []int{1, 10, 100, 500}

// TestRunAllocatesNothingForARow is a promise of the hot path: a message is as large as it is, and no more.
func TestRunAllocatesNothingForARow(t *testing.T) {
	m := load(t, options(ranker(t)))
	measure := func(rows int) float64 {
		b := newBatch(t, m, rows)
		return testing.AllocsPerRun(200, func() {
			if err := b.Run(context.Background(), rows); err != nil {
				t.Fatal(err)
			}
		})
	}
	// The server is in this process and reads longer messages in more pieces: tens of them, where a row each would be hundreds.
	if few, many := measure(1), measure(500); many > few+50 {
		t.Errorf("%v allocations for 1 row, %v for 500", few, many)
	}
}

// BenchmarkRun is a run at a server in this process that computes nothing: what remoteness costs.
func BenchmarkRun(b *testing.B) {
	m := load(b, options(ranker(b)))
	for _, rows := range benchRows {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			batch := newBatch(b, m, rows)
			b.ReportAllocs()
			for b.Loop() {
				if err := batch.Run(b.Context(), rows); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFloor is the bare call: the same bytes there and back, by the same client library, to a handler that only reads them.
func BenchmarkFloor(b *testing.B) {
	server := ranker(b)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := inferenceconnect.NewGRPCInferenceServiceClient(&http.Client{Transport: transport}, "http://"+server.Address(), connect.WithGRPC(), connect.WithAcceptCompression("gzip", nil, nil))
	for _, rows := range benchRows {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			req := &inference.ModelInferRequest{
				Inputs:           []*inference.ModelInferRequest_InferInputTensor{{Shape: []int64{int64(rows), benchWidth}}},
				RawInputContents: [][]byte{make([]byte, 4*benchWidth*rows)},
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.ModelInfer(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRunParallel keeps the model's replica busy.
func BenchmarkRunParallel(b *testing.B) {
	for _, connections := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			o := options(ranker(b))
			o.Connections = connections
			m := load(b, o)
			batches := make(chan *oip.Batch, 64)
			for range cap(batches) {
				batches <- newBatch(b, m, 100)
			}
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				batch := <-batches
				for pb.Next() {
					if err := batch.Run(b.Context(), 100); err != nil {
						b.Error(err)
					}
				}
				batches <- batch
			})
		})
	}
}
