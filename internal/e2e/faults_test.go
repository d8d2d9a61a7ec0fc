package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/internal/servers"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const users = 50

const countDefinitions = `
namespace: e2e
entities:
  - name: user
    keys: [{name: user_id, type: int64}]
sources:
  - name: ratings
    format: json
    event_time: {field: event_time, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: rating, type: int64}
views:
  - name: user_ratings
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h, lifetime]}
      - {name: sum, aggregate: sum, field: rating, windows: [lifetime]}
`

// rating is event i of a user; every event weighs differently, so that a lost one and a
// doubled one cannot make up for each other.
func rating(i int) string {
	return fmt.Sprintf(`{"user_id":%d,"rating":%d,"event_time":%d}`, i%users, i, time.Now().UnixMicro())
}

func ratings(from, to int) (events []any) {
	for i := from; i < to; i++ {
		events = append(events, rating(i))
	}
	return events
}

// totals asks for the number and the sum of all events of all users.
func (s *stack) totals(ctx context.Context) (count, sum int64, err error) {
	ids := make([]int64, users)
	for i := range ids {
		ids[i] = int64(i)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := s.onehop.Features().GetOnlineFeatures(ctx, &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{"user_ratings.count_lifetime", "user_ratings.sum_lifetime"},
		Entities: map[string]*onehopv1.Values{"user_id": {Int64: ids}},
	})
	if err != nil {
		return 0, 0, err
	}
	for i := range ids {
		count += res.GetColumns()[0].GetValues().GetInt64()[i]
		sum += res.GetColumns()[1].GetValues().GetInt64()[i]
	}
	return count, sum, nil
}

// expectTotals waits until exactly the first n events are there.
func (s *stack) expectTotals(t *testing.T, n int) {
	t.Helper()
	wantSum := int64(n) * int64(n-1) / 2
	eventually(t, 60*time.Second, "every event is folded", func() error {
		count, sum, err := s.totals(t.Context())
		switch {
		case err != nil:
			return err
		case count > int64(n):
			t.Fatalf("%d events are folded where %d were produced", count, n)
		case count < int64(n) || sum != wantSum:
			return fmt.Errorf("%d of %d events, sum %d of %d", count, n, sum, wantSum)
		}
		return nil
	})
}

// expectHistory waits until history holds exactly the first n events.
func (s *stack) expectHistory(t *testing.T, n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	table := pgx.Identifier{"onehop_" + s.namespace, "ratings"}.Sanitize()
	eventually(t, 60*time.Second, "history is complete", func() error {
		var count, sum int64
		if err := conn.QueryRow(t.Context(), "SELECT count(*), coalesce(sum(f_rating), 0) FROM "+table).Scan(&count, &sum); err != nil {
			return err
		}
		if want := int64(n) * int64(n-1) / 2; count != int64(n) || sum != want {
			return fmt.Errorf("%d of %d rows, sum %d of %d", count, n, sum, want)
		}
		return nil
	})
}

// TestKillIngest kills ingest at random moments while events arrive: every event is in
// the rows and in history exactly once.
func TestKillIngest(t *testing.T) {
	s := newStack(t)
	s.instance = "one" // so that its successor need not wait for its session to end
	ingest := s.start(t, countDefinitions)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const rounds, each = 6, 3000
	for round := range rounds {
		s.onehop.Produce(t, "ratings", ratings(round*each, (round+1)*each)...)
		timer := time.NewTimer(time.Duration(random.IntN(400)) * time.Millisecond)
		<-timer.C
		ingest.kill()
		ingest = s.startIngest(t)
	}
	s.expectTotals(t, rounds*each)
	s.expectHistory(t, rounds*each)
}

// TestTwoIngests lets two processes share the partitions, and one of them leave.
func TestTwoIngests(t *testing.T) {
	s := newStack(t)
	first := s.start(t, countDefinitions)
	s.startIngest(t)
	s.onehop.Produce(t, "ratings", ratings(0, 4000)...)
	first.stop(t)
	s.onehop.Produce(t, "ratings", ratings(4000, 8000)...)
	s.expectTotals(t, 8000)
	s.expectHistory(t, 8000)
}

// TestPostgresAway freezes Postgres: fresh features go on, and history is complete
// afterwards.
func TestPostgresAway(t *testing.T) {
	s := newStack(t)
	postgres, err := servers.Postgres(t.Context(), servers.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = postgres.Stop() })
	s.postgres = postgres.URL()
	s.start(t, countDefinitions)
	s.onehop.Produce(t, "ratings", ratings(0, 1000)...)
	s.expectTotals(t, 1000)
	if err := postgres.Suspend(); err != nil {
		t.Fatal(err)
	}
	s.onehop.Produce(t, "ratings", ratings(1000, 3000)...)
	s.expectTotals(t, 3000)
	if err := postgres.Resume(); err != nil {
		t.Fatal(err)
	}
	s.expectHistory(t, 3000)
}

// TestRedisFlushed loses all rows while requests run: a reader gets an error or the
// truth, never a missing user, and everything comes back.
func TestRedisFlushed(t *testing.T) {
	s := newStack(t)
	s.ownRedis(t)
	s.start(t, countDefinitions)
	const n = 5000
	s.onehop.Produce(t, "ratings", ratings(0, n)...)
	s.expectTotals(t, n)
	s.flushRedis(t)
	unavailable := 0
	eventually(t, 30*time.Second, "the rows are back", func() error {
		count, _, err := s.totals(t.Context())
		if err == nil && count != n {
			t.Fatalf("after the loss %d of %d events were served as if that were all", count, n)
		}
		if connect.CodeOf(err) == connect.CodeUnavailable {
			unavailable++
		}
		return err
	})
	if unavailable == 0 {
		t.Error("the loss was never told to a reader; the test has not seen what it is for")
	}
	s.expectTotals(t, n)
}

// TestRestartsWithoutPostgres starts serve from its snapshot of the definitions.
func TestServeStartsWithoutPostgres(t *testing.T) {
	s := newStack(t)
	s.start(t, countDefinitions)
	s.onehop.Produce(t, "ratings", ratings(0, 500)...)
	s.expectTotals(t, 500)
	away := *s
	away.postgres = "postgres://nobody:secret@" + freeAddress(t) + "/nothing?connect_timeout=1"
	at := freeAddress(t)
	p := away.run(t, "serve", at, "127.0.0.1:0")
	away.waitReady(t, p, "http://"+at)
	s.features = "http://" + at
	s.expectTotals(t, 500)
}

// TestStartupFailuresSayWhatToDo starts services whose servers are away.
func TestStartupFailuresSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*stack)
		want   string
	}{
		"redis":    {func(s *stack) { s.redis = "redis://:secret@127.0.0.1:1" }, "set --redis"},
		"postgres": {func(s *stack) { s.postgres, s.snapshot = "postgres://u:secret@127.0.0.1:1/x", "" }, "set --postgres"},
		"kafka":    {func(s *stack) { s.kafka = []string{"127.0.0.1:1"} }, "set --kafka"},
		"nonsense": {func(s *stack) { s.redis = "nonsense" }, "--redis: the URL must begin with redis://"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t)
			s.startup = "2s"
			c.change(s)
			p := s.run(t, "ingest", "127.0.0.1:0", "127.0.0.1:0")
			select {
			case <-p.done:
			case <-time.After(20 * time.Second):
				t.Fatal("ingest still tries after 20 s")
			}
			log := p.log.String()
			if p.err == nil || !strings.Contains(log, c.want) || strings.Contains(log, "secret") {
				t.Errorf("ended with %v, said:\n%s\nwant something with %s and no password", p.err, log, c.want)
			}
		})
	}
}

// TestViewOverATopicThatLostItsHead applies a change that would need events which Kafka no
// longer has: the change does not come into service, what was served goes on, fresh, and
// going back is possible.
func TestViewOverATopicThatLostItsHead(t *testing.T) {
	s := newStack(t)
	s.start(t, countDefinitions)
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings", ratings(0, 1000)...)...)
	s.expectHistory(t, 1000)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := s.namespace + ".ratings"
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.DeleteRecords(t.Context(), ends.Offsets()); err != nil {
		t.Fatal(err)
	}
	s.onehop.ApplyText(t, countDefinitions+"      - {name: max, aggregate: max, field: rating, windows: [lifetime]}\n")
	s.onehop.Produce(t, "ratings", ratings(1000, 1500)...)
	s.expectTotals(t, 1500)
	if _, err := s.onehop.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{"user_ratings.max_lifetime"}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{1}}},
	}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a feature that cannot be filled: %v", err)
	}
	s.onehop.ApplyText(t, countDefinitions)
	s.onehop.Produce(t, "ratings", ratings(1500, 2000)...)
	s.expectTotals(t, 2000)
	s.expectHistory(t, 2000)
}
