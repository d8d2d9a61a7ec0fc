// Package infer is the service that answers InferenceService: from entity ids to
// scores in one hop.
package infer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/predictions"
	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/switches"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/internal/rpc"
	"github.com/onehop/onehop/internal/servedlog"
	"github.com/onehop/onehop/internal/server"
	"github.com/onehop/onehop/internal/serving"
	"github.com/onehop/onehop/internal/shadow"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// Config configures the service.
type Config struct {
	config.Common `embed:""`
	config.Kafka  `embed:""` // for the serving log; without it nothing is logged
	config.Listen `embed:""`

	Models      string        `env:"ONEHOP_MODELS" default:"models" placeholder:"DIR" help:"The model repository: NAME/VERSION/model.onnx and model.yaml, or model.yaml alone for models on other servers."`
	ONNXRuntime string        `name:"onnxruntime" env:"ONEHOP_ONNXRUNTIME" placeholder:"FILE" help:"ONNX Runtime's shared library; without it the system's, or the one that onehop setup fetched."`
	NearCacheMB int           `name:"near-cache-mb" env:"ONEHOP_NEAR_CACHE_MB" default:"32" help:"Memory for copies of rows of feature views with a near_cache, in MiB; 0 keeps none."`
	Refresh     time.Duration `env:"ONEHOP_MODELS_REFRESH" default:"2s" help:"How often to look for new model versions."`

	// Log takes the log; Started is told the public and the admin address. Both are for
	// programs that run the service within themselves.
	Log     io.Writer                  `kong:"-"`
	Started func(public, admin string) `kong:"-"`
}

// Check returns everything that is wrong with the configuration.
func (c *Config) Check() error {
	var refresh error
	if c.Refresh < 100*time.Millisecond {
		refresh = fmt.Errorf("--refresh: %s must be at least 100ms", c.Refresh)
	}
	var kafka error
	if len(c.Kafka.Kafka) > 0 {
		kafka = c.Kafka.Check()
	}
	var near error
	if c.NearCacheMB < 0 || c.NearCacheMB > 1<<20 {
		near = fmt.Errorf("--near-cache-mb: %d must be from 0 to %d", c.NearCacheMB, 1<<20)
	}
	return errors.Join(c.Common.Check(), kafka, near, config.CheckAddress("--listen", c.Listen.Listen), refresh)
}

// Run runs the service until the context ends; it then finishes the requests under
// way.
func Run(ctx context.Context, c Config) error {
	library, err := onnx.FindLibrary(c.ONNXRuntime)
	if err != nil {
		return err
	}
	rt, err := onnx.Open(library)
	if err != nil {
		return err
	}
	repo, err := repository.Open(c.Models)
	if err != nil {
		return errors.Join(fmt.Errorf("--models: %w", err), rt.Close())
	}
	base, err := app.Start(ctx, "infer", c.Common, c.Log)
	if err != nil {
		return errors.Join(err, rt.Close())
	}
	models := inference.NewSet(rt, repo, base.Log)
	err = app.WithBallast(func() error { return run(ctx, c, base, models) })
	return errors.Join(err, models.Close(), rt.Close(), base.Close(ctx))
}

func run(ctx context.Context, c Config, base *app.Base, models *inference.Set) error {
	base.Health.NotReady("no definitions are applied to namespace " + c.Namespace + ": run onehop apply")
	models.Shared = predictions.StartShared(ctx, base.Redis, c.Namespace, base.Metrics, base.Log)
	defer models.Shared.Close() // when the last request is answered
	if err := models.Refresh(ctx); err != nil {
		return err
	}
	base.Metrics.MustRegister(newRemotes(models))
	current := serving.NewCurrent(base.Store, base.Log, func(d *serving.Definitions) {
		models.Define(d.Catalog, d.Programs())
		if d.Catalog.Source(featurestore.ServedSource) != nil && len(c.Kafka.Kafka) == 0 {
			base.Log.Warn("definitions say what is to be logged, and this service was started without Kafka: nothing is")
		}
		base.Health.Ready()
	})
	options, err := rpc.Options(base.Telemetry)
	if err != nil {
		return fmt.Errorf("the RPC options: %w", err)
	}
	if c.NearCacheMB > 0 {
		near := base.Store.StartNear(ctx, int64(c.NearCacheMB)<<20, base.Metrics)
		defer near.Close() // when the last request is answered
	}
	service := &rpc.Inference{Models: models, Store: base.Store, Now: time.Now, Answers: rpc.NewAnswers(base.Metrics)}
	service.Recent = rpc.NewRecent(base.Redis, c.Namespace, base.Log)
	if base.Tracing {
		service.Tracer = base.Tracer.Tracer("onehop/infer")
	}
	if len(c.Kafka.Kafka) > 0 {
		if service.Log, err = servedlog.Start(ctx, c.Kafka.Kafka, base.Metrics, base.Log); err != nil {
			return fmt.Errorf("the serving log: %w", err)
		}
		defer service.Log.Close(ctx) // when the last request is answered
	}
	base.Metrics.MustRegister(rpc.Queues{Models: models}, rpc.PredictionCaches{Models: models})
	models.Warm = func(hop *inference.Hop) error { return service.Warm(ctx, hop) }
	service.Shadow = shadow.Start(ctx, base.Metrics, base.Log)
	defer service.Shadow.Close() // when the last request is answered
	path, handler := onehopv1connect.NewInferenceServiceHandler(service, options...)
	public, err := server.Listen(ctx, c.Listen.Listen, rpc.Mux(base.Health, base.Metrics, onehopv1connect.InferenceServiceName, path, handler), base.Log)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if err := followSwitches(ctx, c, base, service, public.Addr()); err != nil {
		return errors.Join(err, public.Close())
	}
	base.Log.Info("listening", "address", public.Addr())
	return base.Serve(ctx, func(admin string) {
		if c.Started != nil {
			c.Started(public.Addr(), admin)
		}
	},
		func(ctx context.Context) error { return public.Serve(ctx, c.DrainTimeout) },
		func(ctx context.Context) error { return current.Run(ctx, base.Follower) },
		func(ctx context.Context) error { return models.Run(ctx, c.Refresh) },
		service.Switches.Follower.Run,
		service.KeepRecent,
	)
}

// instance names this one in the record of switches: by its host, and the address that it listens on with the port that was bound, so that
// two of them on one host, by port 0 too, have two names.
func instance(listen, bound string) (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the name of this host, for the record of switches: %w", err)
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("--listen: %w", err)
	}
	_, port, err := net.SplitHostPort(bound)
	if err != nil {
		return "", fmt.Errorf("the bound address: %w", err)
	}
	return name + " " + net.JoinHostPort(host, port), nil
}

// followSwitches takes what was switched by hand before the first request is answered.
func followSwitches(ctx context.Context, c Config, base *app.Base, service *rpc.Inference, bound string) error {
	name, err := instance(c.Listen.Listen, bound)
	if err != nil {
		return err
	}
	snapshot := ""
	if c.Snapshot != "" {
		snapshot = c.Snapshot + ".switches"
	}
	service.Switches.Store = switches.New(base.Pool, c.Namespace)
	service.Switches.Follower, err = switches.Follow(ctx, service.Switches.Store, service.Models, name, snapshot, base.Log)
	return err
}
