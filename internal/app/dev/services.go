package dev

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/onehop/onehop/internal/app/ingest"
	"github.com/onehop/onehop/internal/app/serve"
	"github.com/onehop/onehop/internal/config"
)

// service is one of Onehop's services, run within this process.
type service struct {
	name string
	// run runs it until the context ends. started is called once, with the public address
	// (empty when it has none) and the admin address.
	run func(ctx context.Context, started func(public, admin string)) error
}

// services lists what runs. A new service is one entry here.
func (e *environment) services(ctx context.Context) ([]service, error) {
	serveListen := listen(ctx, e.config.ServeListen, "127.0.0.1:8081")
	serveAdmin := listen(ctx, "", "127.0.0.1:9081")
	ingestAdmin := listen(ctx, "", "127.0.0.1:9083")
	kafka := config.Kafka{Kafka: e.stack.KafkaBrokers}
	return []service{
		{"ingest", func(ctx context.Context, started func(public, admin string)) error {
			return ingest.Run(ctx, ingest.Config{
				Common: e.common(ingestAdmin), Kafka: kafka,
				CacheMB: 64, Heartbeat: time.Second, MaxRecords: 20000, Partitions: 4,
				Log: e.config.Log, Started: func(admin string) { started("", admin) },
			})
		}},
		{"serve", func(ctx context.Context, started func(public, admin string)) error {
			return serve.Run(ctx, serve.Config{
				Common: e.common(serveAdmin), Kafka: kafka, Listen: config.Listen{Listen: serveListen},
				Log: e.config.Log, Started: started,
			})
		}},
		// HERE: infer, with listen(ctx, e.config.InferListen, "127.0.0.1:8082"), its admin
		// address 127.0.0.1:9082 and the model repository e.config.Models.
	}, nil
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
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.StatusCode == http.StatusOK
}
