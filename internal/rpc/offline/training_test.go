package offline

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/rpc"
	"github.com/onehop/onehop/internal/rpc/rpctest"
	"github.com/onehop/onehop/internal/serving"
	"github.com/onehop/onehop/internal/telemetry"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const starDefinitions = rpctest.Stars + "services: [{name: all, features: [v.*]}]"

// trainer is a service that makes training sets, and the writer of its history.
type trainer struct {
	client   onehopv1connect.FeatureServiceClient
	features *rpc.Features // what answers online
	offline  *Features
	pool     *pgxpool.Pool
	writer   *history.Writer
	next     int64
}

const trainerStart = int64(1_760_000_000_000_000)

func newTrainer(t *testing.T, sql bool) *trainer {
	t.Helper()
	return newTrainerOf(t, starDefinitions, sql)
}

func newTrainerOf(t *testing.T, text string, sql bool) *trainer {
	t.Helper()
	pool, err := app.OpenPool(t.Context(), testenv.Postgres(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := migrations.Up(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	catalog, err := definition.Options{Namespace: testenv.Namespace(t)}.Parse([]definition.File{{Name: "d.yaml", Text: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := serving.Compile(catalog)
	if err != nil {
		t.Fatal(err)
	}
	table, err := history.Open(t.Context(), pool, catalog.Namespace, &catalog.Sources[0], catalog.Lookups(catalog.Sources[0].Name))
	if err != nil {
		t.Fatal(err)
	}
	tr := &trainer{pool: pool, writer: table.NewWriter(ingest.PartitionID{Topic: featurestore.TopicID{3}})}
	if _, err := tr.writer.Open(t.Context(), map[int32]ingest.Offsets{0: {End: 1 << 30}}); err != nil {
		t.Fatal(err)
	}
	tr.features = &rpc.Features{Definitions: serving.Always(definitions), Now: time.Now}
	tr.offline = New(tr.features, pool, sql)
	options, err := rpc.Options(&telemetry.Telemetry{Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	path, handler := onehopv1connect.NewFeatureServiceHandler(tr.offline, append(options, SpineOption())...)
	mux := http.NewServeMux()
	mux.Handle(path, rpc.Patient(handler))
	server := httptest.NewUnstartedServer(mux)
	server.Config.WriteTimeout = time.Second // of short answers
	server.Start()
	t.Cleanup(server.Close)
	tr.client = onehopv1connect.NewFeatureServiceClient(server.Client(), server.URL)
	return tr
}

// events adds n events, one a second, of ten users.
func (tr *trainer) events(t *testing.T, n int) {
	t.Helper()
	var list []featurestore.Event
	for i := range int64(n) {
		offset := tr.next + i
		list = append(list, featurestore.Event{
			Position: featurestore.Position{Time: trainerStart + offset*1e6, Offset: offset}, RecordTime: trainerStart + offset*1e6,
			Values: []featurestore.Value{featurestore.IntValue(offset % 10), featurestore.IntValue(offset)},
		})
	}
	tr.next += int64(n)
	if err := tr.writer.Process(t.Context(), ingest.Batch{From: list[0].Offset, To: tr.next, Events: list}, 0); err != nil {
		t.Fatal(err)
	}
}

// spineOf is a spine of one row for each of the seconds.
func spineOf(t *testing.T, rows int) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "user_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "event_time", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range int64(rows) {
		b.Field(0).(*array.Int64Builder).Append(i % 10)
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(trainerStart + i*1e6))
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	var buffer bytes.Buffer
	w := ipc.NewWriter(&buffer, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// answerOf is a training set as it came: the values of v.n_lifetime.
type answerOf struct {
	counts []int64
	rows   []uint64 // of each message
	token  []byte
	views  []*onehopv1.ViewJoin
}

// ask makes a training set and stops after some messages; 0 is never.
func (tr *trainer) ask(t *testing.T, req *onehopv1.GetTrainingSetRequest, stop int) (*answerOf, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := tr.client.GetTrainingSet(ctx, req)
	if err != nil {
		return nil, err
	}
	a := &answerOf{}
	var all bytes.Buffer
	for stream.Receive() {
		m := stream.Msg()
		if len(a.rows) == 0 {
			a.token = m.GetHistoryToken()
		}
		a.rows, a.views = append(a.rows, m.GetRows()), m.GetViews()
		all.Write(m.GetArrow())
		if len(a.rows) == stop {
			cancel()
			break
		}
	}
	if err := stream.Err(); err != nil && stop == 0 {
		return nil, err
	}
	r, err := ipc.NewReader(&all)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	at := r.Schema().FieldIndices("v.n_lifetime")
	for r.Next() {
		column := r.RecordBatch().Column(at[0]).(*array.Int64)
		for i := range column.Len() {
			n := int64(-1)
			if column.IsValid(i) {
				n = column.Value(i)
			}
			a.counts = append(a.counts, n)
		}
	}
	return a, nil
}

func want(rows int) []int64 {
	counts := make([]int64, rows)
	for i := range counts {
		counts[i] = int64(i / 10)
		if i < 10 {
			counts[i] = -1 // the event at the row's own time is not seen
		}
	}
	return counts
}

// TestTrainingSetIsResumed: with the token of an answer that broke off and the rows that it
// had, the rest is as if it had not, whatever came to history meanwhile.
func TestTrainingSetIsResumed(t *testing.T) {
	tr := newTrainer(t, false)
	tr.events(t, 30_000)
	req := &onehopv1.GetTrainingSetRequest{
		Features: []string{"v.n_lifetime"}, Spine: &onehopv1.GetTrainingSetRequest_Arrow{Arrow: spineOf(t, 40_000)},
	}
	whole, err := tr.ask(t, req, 0)
	if err != nil {
		t.Fatal(err)
	}
	full := want(40_000)
	for i := 30_000; i < len(full); i++ {
		full[i] = 3000
	}
	if !slices.Equal(whole.counts, full) || len(whole.views) != 1 || whole.views[0].GetEvents() != 30_000 || whole.rows[len(whole.rows)-1] != 40_000 {
		t.Fatalf("%d rows, %v, %v", len(whole.counts), whole.rows, whole.views)
	}
	part, err := tr.ask(t, req, 2)
	if err != nil {
		t.Fatal(err)
	}
	tr.events(t, 10_000)
	done := part.rows[len(part.rows)-1]
	req.HistoryToken, req.SkipRows = part.token, done
	rest, err := tr.ask(t, req, 0)
	if err != nil {
		t.Fatal(err)
	}
	if done == 0 || !slices.Equal(append(part.counts[:done], rest.counts...), full) {
		t.Errorf("%d rows and then %d are not the whole", done, len(rest.counts))
	}
	req.HistoryToken, req.SkipRows = nil, 0
	if now, err := tr.ask(t, req, 0); err != nil || !slices.Equal(now.counts, want(40_000)) {
		t.Errorf("without a token history is as of now: %v", err)
	}
}

// TestTrainingSetsThatAreRefused say why.
func TestTrainingSetsThatAreRefused(t *testing.T) {
	tr := newTrainer(t, false)
	tr.events(t, 10)
	arrowSpine := &onehopv1.GetTrainingSetRequest_Arrow{Arrow: spineOf(t, 10)}
	cut := &onehopv1.GetTrainingSetRequest_Arrow{Arrow: spineOf(t, 10)[:300]}
	for name, c := range map[string]struct {
		req  *onehopv1.GetTrainingSetRequest
		code connect.Code
		says string
	}{
		"no features":        {&onehopv1.GetTrainingSetRequest{Spine: arrowSpine}, connect.CodeInvalidArgument, "feature_service or features"},
		"no spine":           {&onehopv1.GetTrainingSetRequest{Features: []string{"v.*"}}, connect.CodeInvalidArgument, "spine"},
		"unknown feature":    {&onehopv1.GetTrainingSetRequest{Features: []string{"v.x"}, Spine: arrowSpine}, connect.CodeNotFound, `no feature "x"`},
		"a spine cut off":    {&onehopv1.GetTrainingSetRequest{Features: []string{"v.*"}, Spine: cut}, connect.CodeInvalidArgument, "the spine"},
		"no such column":     {&onehopv1.GetTrainingSetRequest{Features: []string{"v.*"}, Spine: arrowSpine, TimeColumn: "at"}, connect.CodeInvalidArgument, `"at"`},
		"a token of nothing": {&onehopv1.GetTrainingSetRequest{Features: []string{"v.*"}, Spine: arrowSpine, HistoryToken: []byte("x")}, connect.CodeInvalidArgument, "history_token"},
		"too many skipped":   {&onehopv1.GetTrainingSetRequest{Features: []string{"v.*"}, Spine: arrowSpine, SkipRows: 11}, connect.CodeInvalidArgument, "11"},
		"a query": {
			&onehopv1.GetTrainingSetRequest{Features: []string{"v.*"}, Spine: &onehopv1.GetTrainingSetRequest_Sql{Sql: "SELECT 1"}},
			connect.CodeInvalidArgument, "--sql-spines",
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			if _, err := tr.ask(t, c.req, 0); connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %s and %q", err, c.code, c.says)
			}
		})
	}
}

func TestSpineThatIsAQuery(t *testing.T) {
	tr := newTrainer(t, true)
	tr.events(t, 100)
	const query = `SELECT i % 10 AS user_id, to_timestamp(1760000000 + i) AS event_time FROM generate_series(0, 99) AS i`
	ask := func(sql string) (*answerOf, error) {
		return tr.ask(t, &onehopv1.GetTrainingSetRequest{Features: []string{"v.n_lifetime"}, Spine: &onehopv1.GetTrainingSetRequest_Sql{Sql: sql}}, 0)
	}
	if a, err := ask(query); err != nil || !slices.Equal(a.counts, want(100)) {
		t.Errorf("%v, %v", a, err)
	}
	if _, err := ask("DELETE FROM onehop.offsets RETURNING 1"); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a query that writes: %v", err)
	}
}

// TestCallerThatGoesAwayStopsTheQuery in Postgres too, and makes room for another.
func TestCallerThatGoesAwayStopsTheQuery(t *testing.T) {
	tr := newTrainer(t, true)
	tr.events(t, 10)
	slow := &onehopv1.GetTrainingSetRequest{
		Features: []string{"v.n_lifetime"}, Spine: &onehopv1.GetTrainingSetRequest_Sql{Sql: "SELECT 1 AS user_id, now() AS event_time FROM pg_sleep(60)"},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for range maxTrainingSets {
		go func() { // ends with ctx
			if stream, err := tr.client.GetTrainingSet(ctx, slow); err == nil {
				stream.Receive()
				_ = stream.Close()
			}
		}()
	}
	sleeping := func() (n int) {
		if err := tr.pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	waitFor(t, func() bool { return sleeping() == maxTrainingSets })
	if _, err := tr.ask(t, slow, 0); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("one too many: %v", err)
	}
	waitFor(t, func() bool { return sleeping() == 0 })
	waitFor(t, func() bool {
		_, err := tr.ask(t, &onehopv1.GetTrainingSetRequest{
			Features: []string{"v.n_lifetime"}, Spine: &onehopv1.GetTrainingSetRequest_Arrow{Arrow: spineOf(t, 1)},
		}, 0)
		return err == nil
	})
}

func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within ten seconds")
		}
		<-time.After(20 * time.Millisecond)
	}
}
