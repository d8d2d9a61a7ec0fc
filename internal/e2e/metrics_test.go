package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scrape sums the series of a metric of which every label is there, and counts them.
func scrape(t *testing.T, admin, metric string, labels ...string) (sum float64, series int) {
	t.Helper()
	var page string
	if err := get(t, admin+"/metrics", &page); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(page))
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, metric+"{") && !strings.HasPrefix(line, metric+" ") {
			continue
		}
		fits := true
		for _, label := range labels {
			fits = fits && strings.Contains(line, label)
		}
		if !fits {
			continue
		}
		value, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, series = sum+value, series+1
	}
	return sum, series
}

// waitMetric waits until the sum of a metric's series is in [from, to].
func waitMetric(t *testing.T, admin string, from, to float64, metric string, labels ...string) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("%s%v from %v to %v", metric, labels, from, to), func() error {
		if sum, series := scrape(t, admin, metric, labels...); series == 0 || sum < from || sum > to {
			return fmt.Errorf("%v, %d series", sum, series)
		}
		return nil
	})
}

const online, history = `group="online"`, `group="history"`

// TestLagGrowsWhileRedisIsAway freezes Redis: nothing is processed and no batch ends, and
// the lag grows all the same, of the online group alone. Without events there is none.
func TestLagGrowsWhileRedisIsAway(t *testing.T) {
	s := newStack(t)
	server := s.ownRedis(t)
	s.start(t, countDefinitions)
	address := freeAddress(t)
	admin := "http://" + address
	s.waitReady(t, s.run(t, "ingest", "127.0.0.1:0", address), admin)
	waitMetric(t, admin, 2, 2, "onehop_ingest_partitions", online, `state="open"`) // it shares them with another
	waitMetric(t, admin, 1, 99, "onehop_ingest_rebalance_seconds_count", online)
	s.onehop.Produce(t, "ratings", ratings(0, 1000)...)
	s.expectTotals(t, 1000)
	waitMetric(t, admin, 0, 0, "onehop_ingest_lag_records", online)
	waitMetric(t, admin, 0, 0, "onehop_ingest_lag_seconds", online)
	waitMetric(t, admin, 0, 0, "onehop_ingest_view_filling_partitions", `view="user_ratings"`)

	if err := server.Suspend(); err != nil {
		t.Fatal(err)
	}
	s.onehop.Produce(t, "ratings", ratings(1000, 4000)...)
	waitMetric(t, admin, 500, 3000, "onehop_ingest_lag_records", online)
	first, _ := scrape(t, admin, "onehop_ingest_lag_seconds", online)
	waitMetric(t, admin, first+2, 1000, "onehop_ingest_lag_seconds", online)
	waitMetric(t, admin, 0, 0, "onehop_ingest_lag_seconds", history)
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	s.expectTotals(t, 4000)
	waitMetric(t, admin, 0, 0, "onehop_ingest_lag_seconds", online)
}

// TestMetricsOfPartitions follows one process that gets all partitions of another: series
// of partitions that are another's are not there.
func TestMetricsOfPartitions(t *testing.T) {
	s := newStack(t)
	first := s.start(t, countDefinitions)
	address := freeAddress(t)
	admin := "http://" + address
	s.waitReady(t, s.run(t, "ingest", "127.0.0.1:0", address), admin)
	waitMetric(t, admin, 2, 2, "onehop_ingest_partitions", online)
	if _, series := scrape(t, admin, "onehop_ingest_lag_seconds", online); series != 2 {
		t.Errorf("%d series of lag where 2 partitions are owned", series)
	}
	s.onehop.Produce(t, "ratings", "nonsense", `{"user_id":1,"event_time":5}`, `{"event_time":5}`)
	first.stop(t)
	waitMetric(t, admin, 4, 4, "onehop_ingest_partitions", online, `state="open"`)
	s.onehop.Produce(t, "ratings", "nonsense", `{"user_id":1,"event_time":5}`, `{"event_time":5}`)
	waitMetric(t, admin, 1, 2, "onehop_ingest_rejected_total", online, `reason="malformed"`)
	waitMetric(t, admin, 1, 2, "onehop_ingest_rejected_total", online, `reason="too_old"`)
	waitMetric(t, admin, 1, 2, "onehop_ingest_rejected_total", online, `reason="missing"`)
	waitMetric(t, admin, 0, 0, "onehop_ingest_rejected_total", online, `reason="schema"`)
	waitMetric(t, admin, 0, 0, "onehop_ingest_watermark_regressions_total")
}

// TestReadinessSaysWhatIsWaitedFor starts ingest while Redis is away.
func TestReadinessSaysWhatIsWaitedFor(t *testing.T) {
	s := newStack(t)
	s.redis = "redis://:secret@" + freeAddress(t)
	address := freeAddress(t)
	p := s.run(t, "ingest", "127.0.0.1:0", address)
	eventually(t, 20*time.Second, "/readyz says what is waited for", func() error {
		err := get(t, "http://"+address+"/readyz", nil)
		if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "waiting for Redis at 127.0.0.1") || strings.Contains(err.Error(), "secret") {
			return fmt.Errorf("it says %w", err)
		}
		return nil
	})
	p.kill()
}

// TestLostWritesAreCounted empties Redis: the loss and the fill after it are counted.
func TestLostWritesAreCounted(t *testing.T) {
	s := newStack(t)
	s.ownRedis(t)
	s.instance = "one"
	s.start(t, countDefinitions).stop(t)
	address := freeAddress(t)
	admin := "http://" + address
	s.waitReady(t, s.run(t, "ingest", "127.0.0.1:0", address), admin)
	s.onehop.Produce(t, "ratings", ratings(0, 500)...)
	s.expectTotals(t, 500)
	filled, _ := scrape(t, admin, "onehop_ingest_view_filled_partitions_total", `view="user_ratings"`)
	waitMetric(t, admin, 0, 0, "onehop_ingest_watermark_regressions_total", `source="ratings"`)
	s.flushRedis(t)
	waitMetric(t, admin, 1, 99, "onehop_ingest_watermark_regressions_total", `source="ratings"`)
	s.expectTotals(t, 500)
	waitMetric(t, admin, filled+1, filled+99, "onehop_ingest_view_filled_partitions_total", `view="user_ratings"`)
	waitMetric(t, admin, 0, 0, "onehop_ingest_view_filling_partitions", `view="user_ratings"`)
}

// TestDriftIsAMetric keeps a baseline of values that nobody has any more.
func TestDriftIsAMetric(t *testing.T) {
	t.Setenv("ONEHOP_DRIFT_EVERY", "300ms")
	s := newStack(t)
	s.start(t, rankDefinitions)
	address := freeAddress(t)
	admin := "http://" + address
	s.waitReady(t, s.run(t, "serve", "127.0.0.1:0", address), admin)
	now := time.Now().Add(-2 * time.Second)
	var visits []any
	for i := range 120 {
		visits = append(visits, visit(i, "de", strconv.Itoa(i), 4+float64(i%3)/2, now))
	}
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", visits...)...)
	s.expectRows(t, map[string]int{"ratings": len(visits)})
	file := filepath.Join(t.TempDir(), "train.csv")
	text := "user_ratings.mean_1h,place_ratings.count_1h,user_ratings.count_1h\n" + strings.Repeat("1,1,1\n2,1,1\n", 60)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out := s.historyTool(t, "stats", "--service", "ranker", "--reference", file, "--keep"); status != 0 {
		t.Fatalf("exit status %d: %s", status, out)
	}
	waitMetric(t, admin, 1, 100, "onehop_feature_drift_psi", `service="ranker"`, `feature="user_ratings.mean_1h"`)
	waitMetric(t, admin, 0, 0.001, "onehop_feature_drift_psi", `service="ranker"`, `feature="place_ratings.count_1h"`)
	waitMetric(t, admin, 0, 0, "onehop_feature_null_share", `service="ranker"`, `feature="user_ratings.mean_1h"`)
	waitMetric(t, admin, float64(now.Unix()), 1e12, "onehop_feature_drift_last_seconds", `service="ranker"`)
}
