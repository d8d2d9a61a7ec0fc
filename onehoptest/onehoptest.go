// Package onehoptest starts Onehop in your tests: real Kafka, Redis and Postgres in
// containers (or your own servers, by URL), the three services in the test's process,
// your definitions and your models. A test then produces events, waits until they are
// visible, and calls the services as production does.
//
//	func TestRanking(t *testing.T) {
//		o := onehoptest.Start(t, onehoptest.Options{Definitions: []string{"definitions"}})
//		o.WaitVisible(t, o.Produce(t, "ratings", `{"user_id": 7, "rating": 4, "event_time": …}`)...)
//		res, err := o.Features().GetOnlineFeatures(t.Context(), …)
//	}
//
// Everything is stopped when the test ends. Tests may run side by side on the same
// servers: each Onehop has a namespace of its own.
package onehoptest

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/app/infer"
	"github.com/onehop/onehop/internal/app/ingest"
	"github.com/onehop/onehop/internal/app/serve"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/migrations"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// Options say what to start. The zero value starts servers in containers, and no
// inference service.
type Options struct {
	// Definitions are files and directories to apply at the start.
	Definitions []string
	// Models is a model repository; empty for no inference service.
	Models string
	// ONNXRuntime is the path of the shared library; empty for the usual places.
	ONNXRuntime string
	// Namespace isolates the test on servers that it shares; empty makes one up, and
	// it then replaces the one in the definitions.
	Namespace string
	// Kafka's bootstrap brokers, and the URLs of Redis and Postgres. What is empty is
	// started in a container, once for all tests of the process.
	Kafka           []string
	Redis, Postgres string
	// SchemaRegistry is the URL of a schema registry, for sources that need one.
	SchemaRegistry string
	// FeaturesURL and InferenceURL are services that run already, in Namespace and on
	// the servers above; with the first one set, none are started here.
	FeaturesURL, InferenceURL string
	// Heartbeat is how often idle watermarks move; 0 means 100 ms, so that WaitVisible
	// is quick.
	Heartbeat time.Duration
	// Log takes the services' logs; nil drops them.
	Log io.Writer
}

// Onehop is a running Onehop. It is safe for concurrent use.
type Onehop struct {
	// Namespace is the namespace that it runs in.
	Namespace string
	// FeaturesURL and InferenceURL are the addresses of the services; the second is
	// empty without models.
	FeaturesURL, InferenceURL string

	options Options
	pool    *pgxpool.Pool
	redis   redis.UniversalClient
	store   *online.Store
	kafka   *kgo.Client
	http    *http.Client

	mu      sync.Mutex
	catalog *featurestore.Catalog
}

// startTimeout bounds the start of the services.
const startTimeout = time.Minute

// Start starts Onehop, applies the definitions, and stops everything when the test
// ends. It fails the test with what to do when a server cannot be had.
func Start(tb testing.TB, options Options) *Onehop {
	tb.Helper()
	o := &Onehop{options: options, Namespace: options.Namespace}
	if o.Namespace == "" {
		o.Namespace = namespace()
	}
	if o.options.Log == nil {
		o.options.Log = io.Discard
	}
	if o.options.Heartbeat == 0 {
		o.options.Heartbeat = 100 * time.Millisecond
	}
	o.servers(tb)
	o.connect(tb)
	if len(options.Definitions) > 0 {
		o.Apply(tb, options.Definitions...)
	}
	if options.FeaturesURL != "" {
		o.FeaturesURL, o.InferenceURL = options.FeaturesURL, options.InferenceURL
		return o
	}
	o.services(tb)
	return o
}

// connect opens the clients that the test itself needs.
func (o *Onehop) connect(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	var err error
	if o.pool, err = app.OpenPool(ctx, o.options.Postgres, nil); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(o.pool.Close)
	if _, err := migrations.Up(ctx, o.pool); err != nil {
		tb.Fatal(err)
	}
	if o.redis, err = online.Connect(tb.Context(), o.options.Redis); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = o.redis.Close() })
	if o.store, err = online.Open(ctx, o.redis); err != nil {
		tb.Fatal(err)
	}
	if o.kafka, err = kgo.NewClient(kgo.SeedBrokers(o.options.Kafka...), kgo.RecordDeliveryTimeout(20*time.Second)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(o.kafka.Close)
	o.http = &http.Client{Transport: &http.Transport{}}
	tb.Cleanup(o.http.CloseIdleConnections)
}

// services starts the services and waits until they listen.
func (o *Onehop) services(tb testing.TB) {
	tb.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	group, ctx := errgroup.WithContext(ctx)
	tb.Cleanup(func() {
		stop()
		if err := group.Wait(); err != nil {
			tb.Errorf("onehoptest: a service failed: %v", err)
		}
	})
	common := config.Common{
		Namespace: o.Namespace, Postgres: o.options.Postgres, Redis: o.options.Redis, AdminListen: "127.0.0.1:0",
		StartupTimeout: startTimeout, DrainTimeout: 5 * time.Second, LogFormat: "text", LogLevel: "info",
	}
	kafka := config.Kafka{Kafka: o.options.Kafka}
	group.Go(func() error {
		return ingest.Run(ctx, ingest.Config{
			Common: common, Kafka: kafka, SchemaRegistry: config.SchemaRegistry{SchemaRegistry: o.options.SchemaRegistry}, MemoryMB: 64, Groups: []string{"online", "history"}, Heartbeat: o.options.Heartbeat, MaxRecords: 20_000, Partitions: 4, Log: o.options.Log,
		})
	})
	features, inference := make(chan string, 1), make(chan string, 1)
	listen := config.Listen{Listen: "127.0.0.1:0"}
	group.Go(func() error {
		return serve.Run(ctx, serve.Config{
			Common: common, Kafka: kafka, Listen: listen, Log: o.options.Log, Started: func(public, _ string) { features <- public },
		})
	})
	if o.options.Models != "" {
		group.Go(func() error {
			return infer.Run(ctx, infer.Config{
				Common: common, Kafka: kafka, Listen: listen, Models: o.options.Models, ONNXRuntime: o.options.ONNXRuntime,
				Refresh: time.Second, Log: o.options.Log, Started: func(public, _ string) { inference <- public },
			})
		})
		o.InferenceURL = address(ctx, tb, inference)
	}
	o.FeaturesURL = address(ctx, tb, features)
}

// address waits for a service to say where it listens.
func address(ctx context.Context, tb testing.TB, from <-chan string) string {
	tb.Helper()
	select {
	case at := <-from:
		return app.LocalURL(at)
	case <-ctx.Done():
		tb.Fatal("onehoptest: a service failed to start; set Options.Log to see why")
	case <-time.After(startTimeout):
		tb.Fatalf("onehoptest: a service did not start within %s; set Options.Log to see why", startTimeout)
	}
	return ""
}

// Features is a client of FeatureService.
func (o *Onehop) Features() onehopv1connect.FeatureServiceClient {
	return onehopv1connect.NewFeatureServiceClient(o.http, o.FeaturesURL)
}

// Inference is a client of InferenceService; it must have been started with models.
func (o *Onehop) Inference() onehopv1connect.InferenceServiceClient {
	return onehopv1connect.NewInferenceServiceClient(o.http, o.InferenceURL)
}

// Apply applies definitions: files and directories, which together are the whole of
// the namespace's definitions.
func (o *Onehop) Apply(tb testing.TB, paths ...string) {
	tb.Helper()
	catalog, err := definition.Options{Namespace: o.Namespace}.Load(paths...)
	if err != nil {
		tb.Fatal(err)
	}
	o.apply(tb, catalog)
}

// ApplyText applies definitions given as YAML.
func (o *Onehop) ApplyText(tb testing.TB, text string) {
	tb.Helper()
	files := []definition.File{{Name: "definitions.yaml", Text: []byte(text)}}
	catalog, err := definition.Options{Namespace: o.Namespace}.Parse(files)
	if err != nil {
		tb.Fatal(err)
	}
	o.apply(tb, catalog)
}

func (o *Onehop) apply(tb testing.TB, catalog *featurestore.Catalog) {
	tb.Helper()
	for i := range catalog.Sources { // topics are part of what tests share
		catalog.Sources[i].Topic = o.Namespace + "." + catalog.Sources[i].Name
	}
	applied, err := registry.New(o.pool, o.Namespace).Apply(tb.Context(), catalog, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	o.mu.Lock()
	o.catalog = applied
	o.mu.Unlock()
}
