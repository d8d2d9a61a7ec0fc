package ingest

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/telemetry"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestRetain: what is older than the retention goes by itself, and the log says so; while
// somebody reads history it is tried again.
func TestRetain(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	check(t, err)
	defer pool.Close()
	_, err = migrations.Up(t.Context(), pool)
	check(t, err)
	source := &featurestore.Source{Name: "events", Retention: 24 * time.Hour, Fields: []featurestore.Field{{Name: "id", Type: featurestore.Int64}}}
	namespace := testenv.Namespace(t)
	table, err := history.Open(t.Context(), pool, namespace, source, nil)
	check(t, err)
	w := table.NewWriter(ingest.PartitionID{})
	_, err = w.Open(t.Context(), map[int32]ingest.Offsets{0: {End: 1}})
	check(t, err)
	old := featurestore.Event{Position: featurestore.Position{Time: 1_767_261_600_000_000}, Values: []featurestore.Value{featurestore.IntValue(1)}}
	check(t, w.Process(t.Context(), ingest.Batch{To: 1, Events: []featurestore.Event{old}}, 0))
	reader, err := history.OpenSnapshot(t.Context(), pool, namespace, nil)
	check(t, err)
	log := make(lines, 16)
	s := &service{Base: &app.Base{Telemetry: &telemetry.Telemetry{Log: slog.New(slog.NewTextHandler(log, nil))}}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.retain(ctx, []*lazyTable{{source: source}, {source: source, table: table}}, 20*time.Millisecond, time.Hour)
	}()
	there := func() (is bool) {
		check(t, pool.QueryRow(t.Context(), "SELECT to_regclass('onehop_"+namespace+".events_2026_01') IS NOT NULL").Scan(&is))
		return is
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 10 {
		<-tick.C
		if !there() {
			t.Fatal("a month was dropped under a reader")
		}
	}
	reader.Close(t.Context())
	select {
	case text := <-log:
		if !strings.Contains(text, "older than the retention") || !strings.Contains(text, "events_2026_01") {
			t.Error(text)
		}
	case <-time.After(30 * time.Second):
		t.Error("nothing is told")
	}
	if there() {
		t.Error("the month is there still")
	}
	cancel()
	<-done
}

// lines are what is written, a record each.
type lines chan string

// Write implements io.Writer.
func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
