// Package serve is the service that answers FeatureService: features of entities, as
// of now, straight from the rows in Redis, and as of any time, from history.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/internal/rpc"
	"github.com/onehop/onehop/internal/rpc/offline"
	"github.com/onehop/onehop/internal/servedlog"
	"github.com/onehop/onehop/internal/server"
	"github.com/onehop/onehop/internal/serving"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// Config configures the service.
type Config struct {
	config.Common `embed:""`
	config.Kafka  `embed:""`
	config.Listen `embed:""`
	VerifyEvery   time.Duration `env:"ONEHOP_VERIFY_EVERY" default:"10m" help:"How often to compare rows in Redis with history; 0 is never. One service of a namespace does it."`
	VerifySample  int           `env:"ONEHOP_VERIFY_SAMPLE" default:"1000" help:"About how many entities of each view to compare."`
	DriftEvery    time.Duration `env:"ONEHOP_DRIFT_EVERY" default:"1h" help:"How often to say how far features have drifted from the baselines of their feature services; 0 is never. One service of a namespace does it."`
	DriftSample   int           `env:"ONEHOP_DRIFT_SAMPLE" default:"1000" help:"About how many entities of each kind to look at."`
	SQLSpines     bool          `name:"sql-spines" env:"ONEHOP_SQL_SPINES" help:"Let the spines of training sets be queries. Callers may then read all of the database that --postgres may read."`

	// Log takes the log; Started is told the public and the admin address. Both are for
	// programs that run the service within themselves.
	Log     io.Writer                  `kong:"-"`
	Started func(public, admin string) `kong:"-"`
}

// Check returns everything that is wrong with the configuration.
func (c *Config) Check() error {
	var kafka error
	if len(c.Kafka.Kafka) > 0 { // without Kafka the service takes no events
		kafka = c.Kafka.Check()
	}
	return errors.Join(c.Common.Check(), kafka, config.CheckAddress("--listen", c.Listen.Listen))
}

// Run runs the service until the context ends; it then finishes the requests under
// way.
func Run(ctx context.Context, c Config) error {
	base, err := app.Start(ctx, "serve", c.Common, c.Log)
	if err != nil {
		return err
	}
	err = app.WithBallast(func() error { return run(ctx, c, base) })
	return errors.Join(err, base.Close(ctx))
}

// maxBatchBytes lets an event of 1 MiB through; the topic has the last word.
const maxBatchBytes = 2 << 20

func run(ctx context.Context, c Config, base *app.Base) error {
	current := serving.NewCurrent(base.Store, base.Log, func(*serving.Definitions) { base.Health.Ready() })
	base.Health.NotReady("no definitions are applied to namespace " + c.Namespace + ": run onehop apply")
	features := &rpc.Features{Definitions: current, Store: base.Store, Now: time.Now}
	if len(c.Kafka.Kafka) > 0 {
		client, err := kgo.NewClient(kgo.SeedBrokers(c.Kafka.Kafka...), kgo.ClientID("onehop-serve"), kgo.RecordDeliveryTimeout(10*time.Second),
			kgo.ProducerBatchMaxBytes(maxBatchBytes))
		if err != nil {
			return fmt.Errorf("the Kafka client: %w", err)
		}
		defer client.Close()
		features.Producer = stream.NewProducer(client)
		if features.Log, err = servedlog.Start(ctx, c.Kafka.Kafka, base.Metrics, base.Log); err != nil {
			return fmt.Errorf("the serving log: %w", err)
		}
		defer features.Log.Close(ctx) // when the last request is answered
	}
	pool, err := app.OpenPool(ctx, c.Postgres, nil) // of its own: training sets keep connections
	if err != nil {
		return err
	}
	defer pool.Close()
	verify := &verification{every: c.VerifyEvery, sample: max(1, c.VerifySample), pool: pool, store: base.Store, served: current, log: base.Log}
	verify.logged.versions = func() []*featurestore.Catalog {
		versions, _ := base.Follower.Versions()
		return versions
	}
	verify.register(base.Metrics)
	drifting := &drift{every: c.DriftEvery, sample: max(1, c.DriftSample), pool: pool, served: current, log: base.Log}
	drifting.register(base.Metrics)
	options, err := rpc.Options(base.Telemetry)
	if err != nil {
		return fmt.Errorf("the RPC options: %w", err)
	}
	path, handler := onehopv1connect.NewFeatureServiceHandler(offline.New(features, pool, c.SQLSpines), append(options, offline.SpineOption())...)
	public, err := server.Listen(ctx, c.Listen.Listen, rpc.Mux(base.Health, base.Metrics, onehopv1connect.FeatureServiceName, path, rpc.Patient(handler)), base.Log)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	base.Log.Info("listening", "address", public.Addr())
	return base.Serve(ctx, func(admin string) {
		if c.Started != nil {
			c.Started(public.Addr(), admin)
		}
	},
		func(ctx context.Context) error { return public.Serve(ctx, c.DrainTimeout) },
		func(ctx context.Context) error { return current.Run(ctx, base.Follower) },
		verify.run,
		drifting.run,
	)
}
