package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/app/infer"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/internal/rpc"
	"github.com/onehop/onehop/internal/server"
	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/migrations"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// hopStack is everything that [Hop] measures.
type hopStack struct {
	closers  []func()
	redis    redis.UniversalClient
	catalog  *featurestore.Catalog
	client   onehopv1connect.InferenceServiceClient
	floor    onehopv1connect.InferenceServiceClient
	bare     onehopv1connect.InferenceServiceClient
	answer   *onehopv1.GetFeaturesAndPredictResponse
	rowBytes float64
	models   []hopModel // the first is the one of the floor
	admin    string     // address of the service's metrics

	stages  *stages // nil while they are not to be kept
	draws   []draw
	calls   atomic.Uint64
	library *onnx.Runtime
	session *onnx.Session
	batches chan *onnx.Batch
	buffers sync.Pool
}

func (h *hopStack) stop() {
	for i := len(h.closers) - 1; i >= 0; i-- {
		h.closers[i]()
	}
}

func (h *hopStack) onStop(f func()) { h.closers = append(h.closers, f) }

func startHop(ctx context.Context, o HopOptions, models ...hopModel) (_ *hopStack, err error) {
	h := &hopStack{models: models, draws: makeDraws(256), buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
	defer func() {
		if err != nil {
			h.stop()
		}
	}()
	redisURL, postgresURL, err := h.servers(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.fill(ctx, redisURL, postgresURL); err != nil {
		return nil, err
	}
	repository, err := h.repository(o)
	if err != nil {
		return nil, err
	}
	if err := h.service(ctx, redisURL, postgresURL, repository, o.Library); err != nil {
		return nil, err
	}
	if h.floor, err = h.echoServer(ctx, nil); err != nil {
		return nil, err
	}
	h.bare, err = h.echoServer(ctx, h.parts)
	return h, err
}

func (h *hopStack) servers(ctx context.Context) (redisURL, postgresURL string, err error) {
	r, err := servers.Redis(ctx, servers.Options{})
	if err != nil {
		return "", "", err
	}
	h.onStop(func() { _ = r.Stop() })
	p, err := servers.Postgres(ctx, servers.Options{NoSync: true})
	if err != nil {
		return "", "", err
	}
	h.onStop(func() { _ = p.Stop() })
	return r.URL(), p.URL(), nil
}

// fill applies the definitions and writes the rows.
func (h *hopStack) fill(ctx context.Context, redisURL, postgresURL string) error {
	pool, err := app.OpenPool(ctx, postgresURL, nil)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := migrations.Up(ctx, pool); err != nil {
		return err
	}
	catalog, err := hopCatalogOf("bench", h.models)
	if err != nil {
		return err
	}
	if h.catalog, err = registry.New(pool, "bench").Apply(ctx, catalog, time.Now()); err != nil {
		return err
	}
	if h.redis, err = online.Connect(ctx, redisURL); err != nil {
		return err
	}
	h.onStop(func() { _ = h.redis.Close() })
	store, err := online.Open(ctx, h.redis)
	if err != nil {
		return err
	}
	if err := fillRows(ctx, store, h.catalog); err != nil {
		return err
	}
	return h.measureRows(ctx)
}

// measureRows finds the mean size of the rows that a call reads.
func (h *hopStack) measureRows(ctx context.Context) error {
	var total, n int64
	for _, key := range hopKeys(h.draws[0].user, h.draws[0].items) {
		size, err := h.redis.StrLen(ctx, key).Result()
		if err != nil {
			return fmt.Errorf("measuring rows: %w", err)
		}
		total, n = total+size, n+1
	}
	h.rowBytes = float64(total) / float64(n)
	return nil
}

// repository writes the repository and loads the same model for the floor.
func (h *hopStack) repository(o HopOptions) (string, error) {
	models, err := os.MkdirTemp("", "onehop-bench-")
	if err != nil {
		return "", err
	}
	h.onStop(func() { _ = os.RemoveAll(models) })
	for _, m := range h.models {
		dir := filepath.Join(models, m.name, "1")
		err = errors.Join(os.MkdirAll(dir, 0o750),
			os.WriteFile(filepath.Join(dir, "model.onnx"), m.artifact, 0o600),
			os.WriteFile(filepath.Join(dir, "model.yaml"), []byte(m.spec(h.catalog)), 0o600))
		if err != nil {
			return "", err
		}
	}
	library, err := onnx.FindLibrary(o.Library)
	if err != nil {
		return "", err
	}
	if h.library, err = onnx.Open(library); err != nil {
		return "", err
	}
	h.onStop(func() { _ = h.library.Close() })
	if h.session, err = h.library.LoadBytes(h.models[0].name, h.models[0].artifact, onnx.Options{}); err != nil {
		return "", err
	}
	h.onStop(func() { _ = h.session.Close() })
	h.batches = make(chan *onnx.Batch, 16)
	for range cap(h.batches) {
		b, err := h.session.NewBatch(hopItems)
		if err != nil {
			return "", err
		}
		h.batches <- b
	}
	return models, nil
}

func (h *hopStack) runtimeVersion() string { return h.library.Version() }

// service starts the inference service and makes the call whose answer the floor gives
// too.
func (h *hopStack) service(ctx context.Context, redisURL, postgresURL, models, library string) error {
	ctx, cancel := context.WithCancel(ctx)
	done, started := make(chan error, 1), make(chan struct{})
	var address string
	go func() {
		done <- infer.Run(ctx, infer.Config{
			Common: config.Common{
				Namespace: "bench", Redis: redisURL, Postgres: postgresURL, AdminListen: "127.0.0.1:0",
				StartupTimeout: 30 * time.Second, DrainTimeout: 5 * time.Second, LogLevel: "warn",
			},
			Listen: config.Listen{Listen: "127.0.0.1:0"}, Models: models, ONNXRuntime: library, Refresh: time.Minute, NearCacheMB: 64,
			Log: io.Discard, Started: func(public, admin string) {
				address, h.admin = public, admin
				close(started)
			},
		})
	}()
	h.onStop(func() {
		cancel()
		drop(<-done)
	})
	select {
	case <-started:
	case err := <-done:
		done <- err
		return fmt.Errorf("the inference service: %w", err)
	}
	h.client = h.connect(address)
	deadline := time.Now().Add(20 * time.Second)
	for {
		var err error
		if h.answer, err = h.client.GetFeaturesAndPredict(ctx, h.request()); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the inference service does not answer: %w", err)
		}
	}
}

func (h *hopStack) connect(address string) onehopv1connect.InferenceServiceClient {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	h.onStop(transport.CloseIdleConnections)
	return onehopv1connect.NewInferenceServiceClient(&http.Client{Transport: transport}, "http://"+address)
}

// echoServer answers every call with the same answer, when it has done some work if there is any, and does nothing else.
func (h *hopStack) echoServer(ctx context.Context, work func(context.Context) error) (onehopv1connect.InferenceServiceClient, error) {
	mux := http.NewServeMux()
	mux.Handle(onehopv1connect.NewInferenceServiceHandler(&echoHandler{answer: h.answer, work: work}, rpc.CompressionOption()))
	s, err := server.Listen(ctx, "127.0.0.1:0", mux, slog.Default())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, time.Second) }()
	h.onStop(func() {
		cancel()
		drop(<-done)
	})
	return h.connect(s.Addr()), nil
}

type echoHandler struct {
	onehopv1connect.UnimplementedInferenceServiceHandler
	answer *onehopv1.GetFeaturesAndPredictResponse
	work   func(context.Context) error // nil for none
}

// GetFeaturesAndPredict answers what was answered before.
func (e *echoHandler) GetFeaturesAndPredict(ctx context.Context, _ *onehopv1.GetFeaturesAndPredictRequest) (*onehopv1.GetFeaturesAndPredictResponse, error) {
	if e.work != nil {
		if err := e.work(ctx); err != nil {
			return nil, err
		}
	}
	return e.answer, nil
}

// drop ignores the error with which a server of the benchmark ends.
func drop(error) {}
