package offline

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/internal/rpc/rpctest"
	"github.com/onehop/onehop/internal/testenv"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const matchDefinitions = `
namespace: test
entities: [{name: user, keys: [{name: user_id, type: int64}]}, {name: item, keys: [{name: item_id, type: int64}]}]
sources:
  - name: s
    format: json
    event_time: {field: at, unit: us}
    max_age: 3650d # the online store forgets rows by the clock of its server
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: item_id, type: int64, required: true}
      - {name: x, type: float64}
      - {name: city, type: string}
views:
  - name: u
    entity: user
    source: s
    ttl: 50s
    features:
      - {name: mean, aggregate: mean, field: x, windows: [1m]}
      - {name: few, aggregate: count, exact: 3, windows: [1m]}
      - {name: last, aggregate: last_n, field: x, n: 3}
      - {name: city, aggregate: latest, field: city}
  - name: i
    entity: item
    source: s
    features: [{name: mean, aggregate: mean, field: x, windows: [1m]}, {name: n, aggregate: count, windows: [lifetime]}]
on_demand:
  - name: m
    request: [{name: hour, type: float64}, {name: here, type: string}, {name: k, type: int64}, {name: ok, type: bool}]
    features:
      - {name: gap, expression: u.mean_1m - i.mean_1m}
      - {name: or_zero, expression: "u.mean_1m == null ? 0.0 : u.mean_1m"}
      - {name: share, expression: 1.0 / (i.mean_1m - u.mean_1m)}
      - {name: few, expression: "u.few_1m == null ? -1 : u.few_1m"}
      - {name: each, expression: request.k / i.n_lifetime}
      - {name: late, expression: request.hour >= 12.0 && request.ok}
      - {name: home, expression: request.here == u.city}
      - {name: words, expression: "u.city + '/' + request.here"}
      - {name: large, expression: "u.last.filter(x, x > request.hour - 10.0)"}
services: [{name: all, features: [m.*, u.last]}]
`

// pairs are rows of users and items, of which some are unknown, with request fields.
type pairs struct {
	users, items, k []int64
	hour            []float64
	here            []string
	ok              []bool
}

func newPairs(random *rand.Rand) *pairs {
	p := &pairs{}
	for user := range int64(6) {
		for item := range int64(5) {
			p.users, p.items, p.k = append(p.users, user), append(p.items, item), append(p.k, random.Int64N(9))
			p.hour, p.ok = append(p.hour, float64(random.IntN(24))), append(p.ok, random.IntN(2) > 0)
			p.here = append(p.here, []string{"Oslo", "Rome"}[random.IntN(2)])
		}
	}
	return p
}

func (p *pairs) request() *onehopv1.GetOnlineFeaturesRequest {
	return &onehopv1.GetOnlineFeaturesRequest{
		FeatureService: "all",
		Entities:       map[string]*onehopv1.Values{"user_id": {Int64: p.users}, "item_id": {Int64: p.items}},
		Request:        map[string]*onehopv1.Values{"hour": {Double: p.hour}, "here": {String_: p.here}, "k": {Int64: p.k}, "ok": {Bool: p.ok}},
	}
}

// spine is the same rows at a time, as a spine.
func (p *pairs) spine(t *testing.T, at int64) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "user_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "item_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "k", Type: arrow.PrimitiveTypes.Int64},
		{Name: "hour", Type: arrow.PrimitiveTypes.Float64},
		{Name: "here", Type: arrow.BinaryTypes.String},
		{Name: "ok", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "event_time", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, ints := range [][]int64{p.users, p.items, p.k} {
		b.Field(i).(*array.Int64Builder).AppendValues(ints, nil)
	}
	b.Field(3).(*array.Float64Builder).AppendValues(p.hour, nil)
	b.Field(4).(*array.StringBuilder).AppendValues(p.here, nil)
	b.Field(5).(*array.BooleanBuilder).AppendValues(p.ok, nil)
	for range p.users {
		b.Field(6).(*array.TimestampBuilder).Append(arrow.Timestamp(at))
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

// offline is a training set as text: by column, a cell each.
func (tr *trainer) joined(t *testing.T, spine []byte) map[string][]string {
	t.Helper()
	stream, err := tr.client.GetTrainingSet(t.Context(), &onehopv1.GetTrainingSetRequest{
		FeatureService: "all", Statuses: true, EventTimes: true, Spine: &onehopv1.GetTrainingSetRequest_Arrow{Arrow: spine},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for stream.Receive() {
		all.Write(stream.Msg().GetArrow())
	}
	if stream.Err() != nil {
		t.Fatal(stream.Err())
	}
	r, err := ipc.NewReader(&all)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	columns := map[string][]string{}
	for r.Next() {
		for i, column := range r.RecordBatch().Columns() {
			name := r.Schema().Field(i).Name
			for row := range column.Len() {
				text := column.ValueStr(row)
				if at, ok := column.(*array.Timestamp); ok && !at.IsNull(row) {
					text = strconv.FormatInt(int64(at.Value(row)), 10)
				}
				columns[name] = append(columns[name], text)
			}
		}
	}
	return columns
}

// online is an answer in the same text.
func onlineText(t *testing.T, columns []*onehopv1.Column) map[string][]string {
	t.Helper()
	text := map[string][]string{}
	for _, c := range columns {
		first := 0
		for row, status := range c.GetStatuses() {
			at := "(null)"
			if us := c.GetEventTimesUs()[row]; us > 0 {
				at = strconv.FormatInt(us, 10)
			}
			v := c.GetValues()
			var value string
			switch {
			case len(v.GetListLengths()) > 0:
				n := int(v.GetListLengths()[row])
				value = "[" + strings.ReplaceAll(strings.Trim(fmt.Sprint(v.GetDouble()[first:first+n]), "[]"), " ", ",") + "]"
				first += n
			case len(v.GetDouble()) > 0:
				value = fmt.Sprint(v.GetDouble()[row])
			case len(v.GetInt64()) > 0:
				value = strconv.FormatInt(v.GetInt64()[row], 10)
			case len(v.GetBool()) > 0:
				value = strconv.FormatBool(v.GetBool()[row])
			default:
				value = v.GetString_()[row]
			}
			if status != onehopv1.Status_STATUS_PRESENT {
				value = "(null)"
			}
			text[c.GetName()] = append(text[c.GetName()], value)
			text[c.GetName()+".status"] = append(text[c.GetName()+".status"], strings.TrimPrefix(status.String(), "STATUS_"))
			text[c.GetName()+".event_time"] = append(text[c.GetName()+".event_time"], at)
		}
	}
	return text
}

// TestOnDemandOnlineIsOffline: what is computed online, and in a training set for the same
// rows at the read time, is the same: values, statuses and event times.
func TestOnDemandOnlineIsOffline(t *testing.T) {
	tr := newTrainerOf(t, matchDefinitions, false)
	definitions, err := tr.features.Definitions.Get()
	if err != nil {
		t.Fatal(err)
	}
	tr.features.Store = rpctest.OpenOnline(t, testenv.Redis(t))
	var views []*ingest.View
	for i := range definitions.Catalog.Views {
		view, err := ingest.NewView(definitions.Catalog, &definitions.Catalog.Views[i])
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, view)
	}
	partition := ingest.NewPartition(tr.features.Store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows(views, 1<<16))
	if _, err := partition.Open(t.Context(), map[int32]ingest.Offsets{0: {}}); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for range 6 {
		batch := matchEvents(random, tr.next, 8)
		tr.next = batch.To
		if err := errors.Join(partition.Process(t.Context(), batch), tr.writer.Process(t.Context(), batch, 0)); err != nil {
			t.Fatal(err)
		}
		now := time.UnixMicro(trainerStart + tr.next*3e6 + random.Int64N(90e6))
		tr.features.Now = func() time.Time { return now }
		p := newPairs(random)
		answer, err := tr.client.GetOnlineFeatures(t.Context(), p.request())
		if err != nil {
			t.Fatal(err)
		}
		offline := tr.joined(t, p.spine(t, answer.GetReadTimeUs()))
		online := onlineText(t, answer.GetColumns())
		for _, name := range []string{"user_id", "item_id", "k", "hour", "here", "ok", "event_time"} {
			delete(offline, name)
		}
		if diff := cmp.Diff(offline, online); diff != "" {
			t.Fatalf("offline and online:\n%s", diff)
		}
		for name, column := range online {
			for _, status := range column {
				seen[name+" "+status] = strings.HasSuffix(name, ".status")
			}
		}
	}
	for _, is := range []string{
		"m.gap.status PRESENT", "m.gap.status NULL", "m.few.status OVERFLOW", "m.few.status PRESENT", "m.each.status NULL",
		"m.share.status NULL", "m.large.status NULL", "m.large.status PRESENT", "m.home.status PRESENT", "m.words.status NULL", "u.last.status EXPIRED",
	} {
		if !seen[is] {
			t.Errorf("nothing was %s", is)
		}
	}
}

// matchEvents are the next events, one each three seconds, of users and items that are not
// all of those that are asked for.
func matchEvents(random *rand.Rand, next int64, n int64) ingest.Batch {
	b := ingest.Batch{From: next, To: next + n}
	for offset := next; offset < b.To; offset++ {
		at := trainerStart + offset*3e6
		e := featurestore.Event{Position: featurestore.Position{Time: at, Offset: offset}, RecordTime: at, Values: []featurestore.Value{
			featurestore.IntValue(random.Int64N(4)), featurestore.IntValue(random.Int64N(4)), {}, {},
		}}
		if random.IntN(4) > 0 {
			e.Values[2] = featurestore.FloatValue(float64(random.IntN(4)))
		}
		if random.IntN(3) > 0 {
			e.Values[3] = featurestore.StringValue([]string{"Oslo", "Rome"}[random.IntN(2)])
		}
		b.Events = append(b.Events, e)
	}
	return b
}

// TestOnDemandRequestsThatAreRefused say which field it is, and what needs it.
func TestOnDemandRequestsThatAreRefused(t *testing.T) {
	tr := newTrainerOf(t, matchDefinitions, false)
	tr.features.Store = rpctest.OpenOnline(t, testenv.Redis(t))
	for says, change := range map[string]func(r *onehopv1.GetOnlineFeaturesRequest){
		`request: field "hour" is missing; feature "m.late" is computed from it`: func(r *onehopv1.GetOnlineFeaturesRequest) { delete(r.Request, "hour") },
		`request: field "here" must be given as string only`:                     func(r *onehopv1.GetOnlineFeaturesRequest) { r.Request["here"] = &onehopv1.Values{Int64: []int64{1}} },
		`request: "hour": value 2 is not finite`: func(r *onehopv1.GetOnlineFeaturesRequest) {
			r.Request["hour"] = &onehopv1.Values{Double: []float64{1, math.NaN()}}
		},
		`request: field "hour" must be given as float64 only`:     func(r *onehopv1.GetOnlineFeaturesRequest) { r.Request["hour"] = &onehopv1.Values{Bool: []bool{true}} },
		`request: field "k" has no values; feature "m.`:           func(r *onehopv1.GetOnlineFeaturesRequest) { r.Request["k"] = &onehopv1.Values{} },
		`request: field "hour" has no values; feature "m.`:        func(r *onehopv1.GetOnlineFeaturesRequest) { r.Request["hour"] = &onehopv1.Values{} },
		`request: field "k" must be given as int64 only`:          func(r *onehopv1.GetOnlineFeaturesRequest) { r.Request["k"] = &onehopv1.Values{Double: []float64{1}} },
		`request: field "k" has 2 values where there are 30 rows`: func(r *onehopv1.GetOnlineFeaturesRequest) { r.Request["k"] = &onehopv1.Values{Int64: []int64{1, 2}} },
		`request: "mood" is not asked for`:                        func(r *onehopv1.GetOnlineFeaturesRequest) { r.Request["mood"] = r.Request["k"] },
		`on-demand group "m" has no feature "x"`:                  func(r *onehopv1.GetOnlineFeaturesRequest) { r.FeatureService, r.Features = "", []string{"m.x"} },
		`entities: join key "item_id" is missing`:                 func(r *onehopv1.GetOnlineFeaturesRequest) { delete(r.Entities, "item_id") },
	} {
		req := newPairs(rand.New(rand.NewPCG(1, 2))).request()
		change(req)
		_, err := tr.client.GetOnlineFeatures(t.Context(), req)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %s", err, says)
		}
	}
	stream, err := tr.client.GetTrainingSet(t.Context(), &onehopv1.GetTrainingSetRequest{
		Features: []string{"m.late"}, Spine: &onehopv1.GetTrainingSetRequest_Arrow{Arrow: spineOf(t, 3)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
		t.Error("rows came without the field")
	}
	const says = `the spine has no column "hour", a request field from which feature "m.late" is computed`
	if err := stream.Err(); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want %s", err, says)
	}
}

// TestOnDemandWithoutEntities: the rows are then those of the request's fields.
func TestOnDemandWithoutEntities(t *testing.T) {
	tr := newTrainerOf(t, matchDefinitions, false)
	tr.features.Store = rpctest.OpenOnline(t, testenv.Redis(t))
	answer, err := tr.client.GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{Features: []string{"m.late"}, Request: map[string]*onehopv1.Values{
		"hour": {Double: []float64{3, 12}}, "ok": {Bool: []bool{true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := onlineText(t, answer.GetColumns())["m.late"]; answer.GetRows() != 2 || cmp.Diff(got, []string{"false", "true"}) != "" {
		t.Errorf("%d rows, %v", answer.GetRows(), got)
	}
	view, err := tr.client.GetFeatureView(t.Context(), &onehopv1.GetFeatureViewRequest{Name: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if f := view.GetView().GetFeatures()[5]; f.GetExpression() != "request.hour >= 12.0 && request.ok" || f.GetType() != "bool" || view.GetView().GetRequest()[1].GetType() != "string" {
		t.Errorf("the group is described as %v", view.GetView())
	}
}
