package dev

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/internal/app/infer"
	"github.com/onehop/onehop/internal/app/ingest"
	"github.com/onehop/onehop/internal/app/serve"
	"github.com/onehop/onehop/internal/config"
)

// service is one of Onehop's services, run within this process.
type service struct {
	name string
	// run runs it until the context ends. started is called once, with the public address
	// (empty when it has none) and the admin address.
	run runFunc
}

// services lists what runs. A new service is one entry here.
func (e *environment) services(ctx context.Context) []service {
	services := []service{{"ingest", e.ingest(ctx)}, {"serve", e.serve(ctx)}}
	if e.config.Models == "" {
		return services
	}
	library, err := runtimeLibrary(ctx, e.config.ONNXRuntime, e.config.Out)
	if err != nil {
		fmt.Fprintf(e.config.Out, "infer is not started: %v\n", err)
		return services
	}
	return append(services, service{"infer", e.infer(ctx, library)})
}

// runFunc runs a service; see service.run.
type runFunc func(ctx context.Context, started func(public, admin string)) error

func (e *environment) ingest(ctx context.Context) runFunc {
	c := ingest.Config{
		Common: e.common(listen(ctx, "", "127.0.0.1:9083")), Kafka: config.Kafka{Kafka: e.stack.KafkaBrokers},
		SchemaRegistry: e.config.SchemaRegistry,
		MemoryMB:       256, Groups: []string{"online", "history"}, Heartbeat: time.Second, MaxRecords: 20000, Partitions: 4, Log: e.config.Log,
	}
	return func(ctx context.Context, started func(public, admin string)) error {
		c.Started = func(admin string) { started("", admin) }
		return ingest.Run(ctx, c)
	}
}

func (e *environment) serve(ctx context.Context) runFunc {
	c := serve.Config{
		Common: e.common(listen(ctx, "", "127.0.0.1:9081")), Kafka: config.Kafka{Kafka: e.stack.KafkaBrokers},
		Listen: config.Listen{Listen: listen(ctx, e.config.ServeListen, "127.0.0.1:8081")}, Log: e.config.Log,
		SQLSpines: e.config.SQLSpines,
	}
	return func(ctx context.Context, started func(public, admin string)) error {
		c.Started = started
		return serve.Run(ctx, c)
	}
}

func (e *environment) infer(ctx context.Context, library string) runFunc {
	c := infer.Config{
		Common: e.common(listen(ctx, "", "127.0.0.1:9082")), Kafka: config.Kafka{Kafka: e.stack.KafkaBrokers},
		Listen: config.Listen{Listen: listen(ctx, e.config.InferListen, "127.0.0.1:8082")},
		Models: e.config.Models, ONNXRuntime: library, Refresh: time.Second, NearCacheMB: 32, Log: e.config.Log,
	}
	return func(ctx context.Context, started func(public, admin string)) error {
		c.Started = started
		return infer.Run(ctx, c)
	}
}

// runtimeLibrary finds ONNX Runtime, or fetches it.
func runtimeLibrary(ctx context.Context, configured string, out io.Writer) (string, error) {
	library, err := onnx.FindLibrary(configured)
	if err == nil || configured != "" {
		return library, err
	}
	return onnx.Fetch(ctx, func(doing string) { fmt.Fprintln(out, doing) })
}

// common is the configuration that all services share.
func (e *environment) common(admin string) config.Common {
	return config.Common{
		Namespace: e.namespace, Postgres: e.stack.PostgresURL, Redis: e.stack.RedisURL, AdminListen: admin,
		StartupTimeout: 30 * time.Second, DrainTimeout: 5 * time.Second,
		LogFormat: e.config.LogFormat, LogLevel: e.config.LogLevel, Trace: e.config.Trace,
	}
}

// listen is the address to listen on: the given one, else the usual one, or any free
// port when another program has that.
func listen(ctx context.Context, given, usual string) string {
	if given != "" {
		return given
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	if err := listener.Close(); err != nil {
		return "127.0.0.1:0"
	}
	return usual
}

// waitReady asks until the answer is 200 or the context ends; whoever is not ready by
// then says why at the same address.
func waitReady(ctx context.Context, url string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, client, url) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.StatusCode == http.StatusOK
}
