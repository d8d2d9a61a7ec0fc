package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/internal/app/ingest"
	"github.com/onehop/onehop/internal/app/serve"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestSmoke(t *testing.T) {
	ns := testenv.Namespace(t)
	pg, rd, kf := testenv.Postgres(t), testenv.Redis(t), testenv.Kafka(t)
	hour := featurestore.NewWindow(time.Hour)
	catalog := &featurestore.Catalog{
		Namespace: ns,
		Entities:  []featurestore.Entity{{Name: "user", Keys: []featurestore.JoinKey{{Name: "user_id", Type: featurestore.Int64}}}},
		Sources: []featurestore.Source{{
			Name: "ratings", Topic: ns + ".ratings", Format: "json", TimeField: "event_time", TimeUnit: "us",
			MaxAge: featurestore.DefaultMaxAge, MaxSkew: featurestore.DefaultMaxSkew,
			Fields: []featurestore.Field{{Name: "user_id", Type: featurestore.Int64, Required: true}, {Name: "rating", Type: featurestore.Float64}},
		}},
		Views: []featurestore.View{{Name: "user_ratings", Entity: "user", Source: "ratings", JoinFields: []string{"user_id"}, Features: []featurestore.Feature{
			{Name: "last", Aggregate: "latest", Field: "rating", Type: featurestore.Float64},
			{Name: "n", Aggregate: "count", Windows: []featurestore.Window{hour}, Type: featurestore.Int64},
			{Name: "mean", Aggregate: "mean", Field: "rating", Windows: []featurestore.Window{hour}, Type: featurestore.Float64},
		}}},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	pool, err := pgxpool.New(ctx, pg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := migrations.Up(ctx, pool); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.New(pool, ns).Apply(ctx, catalog, time.Now()); err != nil {
		t.Fatal(err)
	}
	common := config.Common{Namespace: ns, Postgres: pg, Redis: rd, AdminListen: "127.0.0.1:0", StartupTimeout: 20 * time.Second, DrainTimeout: 5 * time.Second}
	run, stop := context.WithCancel(ctx)
	group, run := errgroup.WithContext(run)
	address := make(chan string, 1)
	group.Go(func() error {
		return ingest.Run(run, ingest.Config{Common: common, Kafka: config.Kafka{Kafka: kf}, CacheMB: 64, Heartbeat: time.Second, MaxRecords: 10000, Partitions: 4, Log: os.Stderr})
	})
	group.Go(func() error {
		return serve.Run(run, serve.Config{
			Common: common, Kafka: config.Kafka{Kafka: kf}, Listen: config.Listen{Listen: "127.0.0.1:0"}, Log: os.Stderr,
			Started: func(public, _ string) { address <- public },
		})
	})
	var addr string
	select {
	case addr = <-address:
	case <-run.Done():
		t.Fatal(group.Wait())
	}
	client := onehopv1connect.NewFeatureServiceClient(http.DefaultClient, "http://"+addr)
	for {
		res, err := client.ListFeatureViews(ctx, &onehopv1.ListFeatureViewsRequest{})
		if err == nil && len(res.Views) == 1 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	var events []string
	for i := range 1000 {
		events = append(events, fmt.Sprintf(`{"user_id":%d,"rating":%d,"event_time":%d}`, i%10, i%5+1, time.Now().UnixMicro()))
	}
	if _, err := client.PushEvents(ctx, &onehopv1.PushEventsRequest{Source: "ratings", Events: events}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for {
		res, err := client.GetOnlineFeatures(ctx, &onehopv1.GetOnlineFeaturesRequest{Features: []string{"user_ratings.*"}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{3, 99}}}})
		if err == nil && res.Columns[1].Values.Int64[0] == 100 {
			t.Log(res, time.Since(start))
			break
		}
		if ctx.Err() != nil {
			t.Fatal(res, err)
		}
		if err != nil && connect.CodeOf(err) != connect.CodeUnavailable {
			t.Fatal(err)
		}
	}
	var n int
	for n < 1000 && ctx.Err() == nil {
		_ = pool.QueryRow(ctx, "SELECT count(*) FROM onehop_"+ns+".ratings").Scan(&n)
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	_ = kgo.NoResetOffset
}
