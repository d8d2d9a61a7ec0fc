package servedlog

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/served"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silentBroker takes connections and never answers.
func silentBroker(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// vectors are one request's answer without features.
func vectors(rows int) *Vectors {
	catalog := &featurestore.Catalog{Namespace: "log", Version: 3, Sources: []featurestore.Source{served.Source("log", time.Hour)}}
	return &Vectors{
		Kind: served.Model, Name: "ranker", Version: 2, Plan: &plan.Plan{Catalog: catalog}, Rows: rows, Read: (&online.Store{}).NewRead(),
		Now: 1_800_000_000_000_000, RequestID: "r", Scores: make([]float32, rows),
	}
}

func start(t *testing.T, broker string) (l *Log, out *bytes.Buffer) {
	t.Helper()
	out = &bytes.Buffer{}
	l, err := Start(t.Context(), []string{broker}, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return l, out
}

// TestNothingWaitsForKafka: while Kafka does not answer, vectors are taken at once as long as
// there is room and dropped at once after that; each is counted, and the service ends in time.
func TestNothingWaitsForKafka(t *testing.T) {
	l, _ := start(t, silentBroker(t))
	const requests, rows = 3000, 10
	began := time.Now()
	slowest := time.Duration(0)
	for range requests {
		v, at := vectors(rows), time.Now()
		l.Put(v)
		slowest = max(slowest, time.Since(at))
	}
	if slowest > time.Second {
		t.Errorf("an answer waited %s for the log", slowest)
	}
	t.Logf("%d requests in %s, the slowest %s", requests, time.Since(began), slowest)
	began = time.Now()
	l.Close(t.Context())
	if took := time.Since(began); took > 2*delivery {
		t.Errorf("the service ended after %s", took)
	}
	logged := testutil.ToFloat64(l.logged.WithLabelValues(served.Model, "ranker"))
	full := testutil.ToFloat64(l.dropped.WithLabelValues(served.Model, "ranker", dropFull))
	kafka := testutil.ToFloat64(l.dropped.WithLabelValues(served.Model, "ranker", dropKafka))
	if logged != 0 || full < requests*rows-kafkaRecords-queueRequests*rows || full+kafka != requests*rows {
		t.Errorf("of %d vectors %v are logged, %v dropped because all is full, %v because Kafka did not take them", requests*rows, logged, full, kafka)
	}
}

// TestWhatIsPutIsWritten: also what is put just before the end.
func TestWhatIsPutIsWritten(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "log.served"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	l, out := start(t, cluster.ListenAddrs()[0])
	const requests, rows = 50, 4
	for range requests {
		l.Put(vectors(rows))
	}
	l.Close(t.Context())
	if n := testutil.ToFloat64(l.logged.WithLabelValues(served.Model, "ranker")); n != requests*rows || out.Len() > 0 {
		t.Errorf("%v vectors were logged, want %d; %s", n, requests*rows, out)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("log.served"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for read := 0; read < requests*rows; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			if string(r.Key) != "r" || !strings.Contains(string(r.Value), `"definitions":3`) {
				t.Errorf("record %s: %s", r.Key, r.Value)
			}
		})
	}
}

// TestLargeVectorsAreDropped: a record that no topic takes is not even tried.
func TestLargeVectorsAreDropped(t *testing.T) {
	l, out := start(t, silentBroker(t))
	v := vectors(1)
	v.RequestID = strings.Repeat("x", served.MaxBytes)
	l.Put(v)
	l.Close(t.Context())
	if n := testutil.ToFloat64(l.dropped.WithLabelValues(served.Model, "ranker", dropEncode)); n != 1 || !strings.Contains(out.String(), "at most 1048576 are allowed") {
		t.Errorf("%v were dropped: %s", n, out)
	}
}

func TestSampled(t *testing.T) {
	l := &Log{random: rand.New(rand.NewPCG(1, 2)).Float64} //nolint:gosec // a test
	for share, want := range map[float64]int{0: 0, 0.1: 1000, 0.5: 5000, 1: 10_000} {
		n := 0
		for range 10_000 {
			if l.Sampled(featurestore.Log{Sample: share}) {
				n++
			}
		}
		if n < want-200 || n > want+200 {
			t.Errorf("with sample %v, %d of 10000 requests are logged", share, n)
		}
	}
	var off *Log
	if off.Sampled(featurestore.Log{Sample: 1}) {
		t.Error("a service without a log logs")
	}
}

// TestDecidingAllocatesNothing: what every request pays.
func TestDecidingAllocatesNothing(t *testing.T) {
	var off *Log
	l := &Log{random: rand.Float64}
	n := testing.AllocsPerRun(100, func() {
		_ = off.Sampled(featurestore.Log{Sample: 1}) || l.Sampled(featurestore.Log{}) || l.Sampled(featurestore.Log{Sample: 1e-12})
	})
	if n != 0 {
		t.Errorf("deciding allocates %v times", n)
	}
}
