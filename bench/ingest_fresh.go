package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/internal/app/serve"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/internal/generate"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// freshness follows single events from producing them to reading them by GetOnlineFeatures,
// while others flow at the rate.
func (s *ingestStack) freshness(ctx context.Context, o IngestOptions, r *IngestResult) error {
	live, err := s.inNamespace(ctx, "benchlive")
	if err != nil {
		return err
	}
	if _, err := live.topic(ctx); err != nil {
		return err
	}
	if err := live.empty(ctx); err != nil {
		return err
	}
	if err := live.startService(ctx, []string{onlineGroup, historyGroup}); err != nil {
		return err
	}
	client, stop, err := live.serve(ctx)
	if err == nil {
		var times []time.Duration
		times, err = live.probeAmong(ctx, client, o)
		r.FreshnessP50, r.FreshnessP99 = percentile(times, .5)/1000, percentile(times, .99)/1000
	}
	return errors.Join(err, stop(), live.stopService())
}

// probeAmong follows the events while others are produced.
func (s *ingestStack) probeAmong(ctx context.Context, client onehopv1connect.FeatureServiceClient, o IngestOptions) ([]time.Duration, error) {
	flowing, stop := context.WithCancel(ctx)
	defer stop()
	group := errgroup.Group{}
	group.Go(func() error {
		g := generate.New(generate.Options{Seed: 2, Users: 20_000, Items: 5_000, Clock: time.Now})
		_, err := generate.ToKafka(flowing, s.kafka, g, generate.KafkaOptions{Topic: s.catalog.Sources[0].Topic, Rate: o.Rate})
		return err
	})
	var times []time.Duration
	err := s.probe(ctx, client, 0) // the first one waits for the rows to be live
	for i := 1; err == nil && i <= o.Probes; i++ {
		start := time.Now()
		if err = s.probe(ctx, client, int64(i)); err == nil {
			times = append(times, time.Since(start))
		}
		wait, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		<-wait.Done()
		cancel()
	}
	stop()
	return times, errors.Join(err, group.Wait())
}

// probe produces one event of a user whom nobody knows and reads until it is there.
func (s *ingestStack) probe(ctx context.Context, client onehopv1connect.FeatureServiceClient, number int64) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	user := 1_000_000 + number
	record := &kgo.Record{Topic: s.catalog.Sources[0].Topic, Value: generate.AppendRating(nil, user, 1, 5, time.Now().UnixMicro())}
	if err := s.kafka.ProduceSync(ctx, record).FirstErr(); err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	request := &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{"user_ratings.count_1h"},
		Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{user}}},
	}
	for {
		res, err := client.GetOnlineFeatures(ctx, request)
		switch {
		case connect.CodeOf(err) == connect.CodeUnavailable && ctx.Err() == nil:
			continue // the views are being filled
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		case res.GetColumns()[0].GetStatuses()[0] == onehopv1.Status_STATUS_PRESENT:
			return nil
		}
	}
}

// serve starts the feature service; stop stops it.
func (s *ingestStack) serve(ctx context.Context) (client onehopv1connect.FeatureServiceClient, stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	done, started := make(chan error, 1), make(chan string, 1)
	go func() {
		done <- serve.Run(ctx, serve.Config{
			Common: config.Common{
				Namespace: s.catalog.Namespace, Redis: s.redisURL, Postgres: s.postgresURL, AdminListen: "127.0.0.1:0",
				StartupTimeout: 30 * time.Second, DrainTimeout: 5 * time.Second, LogLevel: "error",
			},
			Listen: config.Listen{Listen: "127.0.0.1:0"}, Log: io.Discard, Started: func(public, _ string) { started <- public },
		})
	}()
	transport := &http.Transport{}
	stop = func() error {
		cancel()
		transport.CloseIdleConnections()
		return <-done
	}
	select {
	case address := <-started:
		return onehopv1connect.NewFeatureServiceClient(&http.Client{Transport: transport}, "http://"+address), stop, nil
	case err := <-done:
		done <- nil
		return nil, stop, fmt.Errorf("the feature service: %w", err)
	}
}
