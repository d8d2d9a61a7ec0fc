package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/generate"
	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/migrations"
)

const (
	trainingUsers = 100_000
	trainingDays  = 30
)

const trainingDefinitions = `
namespace: bench
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
sources:
  - name: ratings
    format: json
    event_time: {field: event_time, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: movie_id, type: int64, required: true}
      - {name: rating, type: float64, required: true}
views:
  - name: profile
    entity: user
    source: ratings
    features:
      - {name: movie, aggregate: latest, field: movie_id}
      - {name: rating, aggregate: latest, field: rating}
  - name: activity
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h, 1d, 7d]}
      - {name: sum, aggregate: sum, field: rating, windows: [1h, 1d, 7d]}
      - {name: mean, aggregate: mean, field: rating, windows: [1h, 1d, 7d]}
      - {name: min, aggregate: min, field: rating, windows: [1h, 1d, 7d]}
      - {name: max, aggregate: max, field: rating, windows: [1h, 1d, 7d]}
`

// trainingStack is a Postgres with history.
type trainingStack struct {
	server   *servers.Server
	pool     *pgxpool.Pool
	catalog  *featurestore.Catalog
	programs map[string]*fold.Program
	end      int64 // the time of the last event
}

func (s *trainingStack) stop() {
	if s.pool != nil {
		s.pool.Close()
	}
	_ = s.server.Stop()
}

func startTraining(ctx context.Context, events int) (_ *trainingStack, err error) {
	s := &trainingStack{}
	if s.server, err = servers.Postgres(ctx, servers.Options{}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.pool, err = app.OpenPool(ctx, s.server.URL(), nil); err != nil {
		return nil, err
	}
	if _, err := migrations.Up(ctx, s.pool); err != nil {
		return nil, err
	}
	s.catalog, err = definition.Options{}.Parse([]definition.File{{Name: "bench.yaml", Text: []byte(trainingDefinitions)}})
	if err != nil {
		return nil, err
	}
	if s.programs, err = plan.Programs(s.catalog); err != nil {
		return nil, err
	}
	return s, s.fill(ctx, events)
}

// fill writes the events of a month to history, as ingest does, indexes them and has
// Postgres analyze them.
func (s *trainingStack) fill(ctx context.Context, events int) error {
	source := s.catalog.Source("ratings")
	table, err := history.Open(ctx, s.pool, s.catalog.Namespace, source, [][]string{{"user_id"}})
	if err != nil {
		return err
	}
	w := table.NewWriter(ingest.PartitionID{Topic: featurestore.TopicID{1}})
	if _, err := w.Open(ctx, map[int32]ingest.Offsets{0: {End: int64(events)}}); err != nil {
		return err
	}
	g := generate.New(generate.Options{
		Seed: 5, Users: trainingUsers, Items: 20_000, Rate: float64(events) / (trainingDays * 86400),
		Start: time.Date(2026, 9, 20, 0, 0, 0, 0, time.UTC),
	})
	const chunk = 50_000
	batch := make([]featurestore.Event, 0, chunk)
	for offset := 0; offset < events; {
		batch = batch[:0]
		for len(batch) < min(chunk, events-offset) {
			e := g.Next()
			batch = append(batch, featurestore.Event{
				Position: featurestore.Position{Time: e.Time, Offset: int64(offset + len(batch))}, RecordTime: e.Arrival,
				Values: []featurestore.Value{featurestore.IntValue(e.UserID), featurestore.IntValue(e.ItemID), featurestore.FloatValue(e.Rating)},
			})
			s.end = e.Time
		}
		to := offset + len(batch)
		if err := w.Process(ctx, ingest.Batch{From: int64(offset), To: int64(to), Events: batch}, int64(events-to)); err != nil {
			return err
		}
		offset = to
	}
	if err := table.Index(ctx); err != nil {
		return err
	}
	if _, err := s.pool.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return fmt.Errorf("analyzing: %w", err)
	}
	return nil
}

// peakRSS is the most memory that this process had, in MB, as Linux counts it.
func peakRSS() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("the memory of this process: %w", err)
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kb, err := strconv.ParseFloat(string(bytes.Fields(value)[0]), 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, errors.New("/proc/self/status does not say VmHWM")
}
