package chaos

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
)

// drained is a stand with some events, drained and without processes.
func drained(t *testing.T, f *Fault, events int) *Stand {
	t.Helper()
	ctx := t.Context()
	s, err := newStand(ctx, world(t), f, Size{Events: events}, seed(t), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	if err := s.Feed.Send(ctx, events); err != nil {
		t.Fatal(err)
	}
	p, err := s.Ingest(ctx, "one")
	if err == nil {
		err = s.Drain(ctx)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, s.logs())
	}
	p.Leave()
	if err := p.Left(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// target is a row that the corruptions are tried on: of the entity of a view with the
// most events.
type target struct {
	*Stand
	t    *testing.T
	view *ingest.View
	key  string // of the entity
	row  string // key of the row
	// events of the entity, and those of its bucket in partition.
	events, inPartition int
	partition           int32
	log                 *Log
	accepted            place // one of its events
	rejected            int   // records of the topic
}

func aim(t *testing.T, s *Stand) *target {
	t.Helper()
	views, err := s.checker.views()
	if err != nil {
		t.Fatal(err)
	}
	log, err := ReadLog(t.Context(), s.checker.Brokers, s.checker.Topic())
	if err != nil {
		t.Fatal(err)
	}
	truth, err := newTruth(t.Context(), s.checker.Versions, views, []*Log{log}, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := &target{Stand: s, t: t, view: views[0], log: log}
	entities := truth.entities[g.view.Name]
	g.key = slices.MaxFunc(slices.Collect(maps.Keys(entities)), func(a, b string) int { return len(entities[a]) - len(entities[b]) })
	g.row, g.events = rowKey(g.view, g.key), len(entities[g.key])
	g.accepted = truth.places[entities[g.key][0]]
	g.partition, g.rejected = g.accepted.partition, len(truth.rejected)
	for key, list := range entities {
		for _, i := range list {
			if featurestore.Bucket([]byte(key)) == g.bucket() && truth.places[i].partition == g.partition {
				g.inPartition++
			}
		}
	}
	return g
}

func (g *target) bucket() int        { return featurestore.Bucket([]byte(g.key)) }
func (g *target) watermarks() string { return tag(g.view, g.bucket()) + "#watermarks" }
func (g *target) field() string      { return fmt.Sprintf("%s:%d", g.log.ID, g.partition) }

func (g *target) set(key, value string) {
	g.t.Helper()
	if err := g.checker.Redis.Set(g.t.Context(), key, value, 0).Err(); err != nil {
		g.t.Fatal(err)
	}
}

func (g *target) get(key string) string {
	g.t.Helper()
	value, err := g.checker.Redis.Get(g.t.Context(), key).Result()
	if err != nil {
		g.t.Fatal(err)
	}
	return value
}

func (g *target) mark(value any) {
	g.t.Helper()
	if err := g.checker.Redis.HSet(g.t.Context(), g.watermarks(), g.field(), value).Err(); err != nil {
		g.t.Fatal(err)
	}
}

func (g *target) del(key string) {
	g.t.Helper()
	if err := g.checker.Redis.Del(g.t.Context(), key).Err(); err != nil {
		g.t.Fatal(err)
	}
}

// sql runs a statement on the history; %s is the table and $1 to $3 are an accepted record.
func (g *target) sql(statement string) {
	g.t.Helper()
	tag, err := g.checker.Pool.Exec(g.t.Context(), fmt.Sprintf(statement, g.checker.table()),
		[16]byte(g.accepted.topic), g.accepted.partition, g.accepted.offset)
	if err != nil || tag.RowsAffected() == 0 {
		g.t.Fatalf("%s: %v, %s", statement, err, tag)
	}
}

const accepted = " WHERE topic_id = $1 AND kafka_partition = $2 AND kafka_offset = $3"

// corruption breaks one thing, and says what a check must find and how to mend it.
type corruption struct {
	name                 string
	do                   func(*target) (undo func())
	lost, doubled, wrong func(*target) int
}

func none(*target) int    { return 0 }
func one(*target) int     { return 1 }
func all(g *target) int   { return g.events }
func there(g *target) int { return g.inPartition }

var corruptions = []corruption{
	{"a row is deleted", func(g *target) func() {
		row := g.get(g.row)
		g.del(g.row)
		return func() { g.set(g.row, row) }
	}, all, none, none},
	{"a bit of a row is flipped", func(g *target) func() {
		row := g.get(g.row)
		bad := []byte(row)
		bad[len(bad)-1] ^= 1
		g.set(g.row, string(bad))
		return func() { g.set(g.row, row) }
	}, none, none, one},
	{"a row that should not be there", func(g *target) func() {
		g.set(rowKey(g.view, "987654321"), g.get(g.row))
		return func() { g.del(rowKey(g.view, "987654321")) }
	}, none, none, one},
	{"a watermark is moved back", func(g *target) func() {
		g.mark(0) // the rows then hold events that their watermark denies
		return func() { g.mark(g.log.Offsets[g.partition].End) }
	}, none, there, one},
	{"a watermark is moved ahead", func(g *target) func() {
		g.mark(g.log.Offsets[g.partition].End + 1)
		return func() { g.mark(g.log.Offsets[g.partition].End) }
	}, none, none, one},
	{"the live marker is gone", func(g *target) func() {
		g.del(stem(g.view) + "}#live")
		return func() { g.set(stem(g.view)+"}#live", "live") }
	}, none, none, one},
	{"history has a record twice", func(g *target) func() {
		g.sql("INSERT INTO %[1]s SELECT * FROM %[1]s" + accepted)
		return func() {
			g.sql("DELETE FROM %[1]s" + accepted + " AND ctid <> (SELECT min(ctid) FROM %[1]s" + accepted + ")")
		}
	}, none, one, none},
	{"history has a record that was not accepted", func(g *target) func() {
		g.sql("UPDATE %s SET event_index = 1" + accepted)
		return func() { g.sql("UPDATE %s SET event_index = 0" + accepted) }
	}, one, none, one},
	{"the offset of history is moved", func(g *target) func() {
		g.sql("UPDATE onehop.offsets /* %s */ SET next = next - 1 WHERE topic_id = $1 AND partition = $2 AND $3::bigint >= 0")
		return func() {
			g.sql("UPDATE onehop.offsets /* %s */ SET next = next + 1 WHERE topic_id = $1 AND partition = $2 AND $3::bigint >= 0")
		}
	}, none, none, one},
}

// lasting are corruptions that cannot be mended, each on top of those before it.
var lasting = []corruption{
	{"history lacks a record", func(g *target) func() {
		g.sql("DELETE FROM %s" + accepted)
		return nil
	}, one, none, none},
	{"a dead letter of an accepted record", func(g *target) func() {
		letter := &kgo.Record{
			Topic: stream.DeadLetterTopic(g.checker.newest().Source(sourceName)),
			Key:   fmt.Appendf(nil, "%s/%d/%d", g.accepted.topic, g.accepted.partition, g.accepted.offset),
		}
		if err := g.kafka.ProduceSync(g.t.Context(), letter).FirstErr(); err != nil {
			g.t.Fatal(err)
		}
		return nil
	}, one, none, one},
	{"no dead letters", func(g *target) func() {
		topic := stream.DeadLetterTopic(g.checker.newest().Source(sourceName))
		ends, err := g.admin.ListEndOffsets(g.t.Context(), topic)
		if err != nil {
			g.t.Fatal(err)
		}
		if _, err := g.admin.DeleteRecords(g.t.Context(), ends.Offsets()); err != nil {
			g.t.Fatal(err)
		}
		return nil
	}, func(g *target) int { return 1 + g.rejected }, none, none},
}

// TestCheckerSees breaks what is right in one place at a time: the checker finds each, and
// nothing else.
func TestCheckerSees(t *testing.T) {
	s := drained(t, &Fault{Name: "checker", Dirt: Dirt{Malformed: 0.05}}, 3000)
	g := aim(t, s)
	check := func(c *corruption) {
		t.Helper()
		report, err := s.checker.Check(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if lost, doubled, wrong := c.lost(g), c.doubled(g), c.wrong(g); report.Lost != lost || report.Doubled != doubled || report.Wrong != wrong {
			t.Errorf("%s: %d lost, %d doubled, %d wrong; want %d, %d, %d\n%q", c.name,
				report.Lost, report.Doubled, report.Wrong, lost, doubled, wrong, report.Problems)
		}
		if report.Rejected == 0 || report.Rows == 0 || report.Events != 3000 {
			t.Errorf("%s: %+v", c.name, report)
		}
	}
	clean := &corruption{name: "nothing is wrong", lost: none, doubled: none, wrong: none}
	check(clean)
	for i := range corruptions {
		c := &corruptions[i]
		undo := c.do(g)
		check(c)
		undo()
	}
	check(clean)
	checkSampled(t, g)
	for i := range lasting {
		c := &lasting[i]
		c.do(g)
		check(c)
	}
}

// checkSampled compares the rows of none: a row that is not there, and one of an entity that
// the topic does not know, are seen all the same.
func checkSampled(t *testing.T, g *target) {
	t.Helper()
	g.checker.Sample = math.MaxInt32
	defer func() { g.checker.Sample = 0 }()
	check := func(name string, lost, wrong int) {
		t.Helper()
		report, err := g.checker.Check(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if report.Lost != lost || report.Wrong != wrong || report.Doubled != 0 || report.Rows > 1 || report.History == 0 {
			t.Errorf("sampled, %s: %+v; want %d lost, %d wrong", name, report, lost, wrong)
		}
	}
	check("nothing is wrong", 0, 0)
	row, stranger := g.get(g.row), rowKey(g.view, "nobody")
	g.del(g.row)
	check("a row is gone", 1, 0)
	g.set(g.row, row)
	g.set(stranger, row)
	check("a row is of nobody", 0, 1)
	g.del(stranger)
}

// TestNearlyIsNarrow compares rows of the view whose float sums may differ in their last
// bits: a difference of one small event is no such thing.
func TestNearlyIsNarrow(t *testing.T) {
	row := func(sum float64, count int64) *fold.Inspection {
		return &fold.Inspection{Tiles: []fold.TilesInspection{{
			Partials: []string{"count", "sum(weight)"},
			Tiles:    []fold.TileInspection{{Values: []featurestore.Value{featurestore.IntValue(count), featurestore.FloatValue(sum)}}},
		}}}
	}
	const sum = 12345.678
	for _, c := range []struct {
		other *fold.Inspection
		want  bool
	}{
		{row(sum, 9), true},
		{row(math.Nextafter(sum, 0), 9), true},
		{row(sum+1e-6, 9), false},
		{row(sum, 8), false},
		{&fold.Inspection{}, false},
	} {
		if got := nearly(row(sum, 9), c.other, 1e-12*sum); got != c.want {
			t.Errorf("%+v: %v", c.other, got)
		}
	}
}

// TestWrongLetters changes one thing of a dead letter at a time.
func TestWrongLetters(t *testing.T) {
	record := &kgo.Record{Topic: "t", Partition: 2, Offset: 7, Key: []byte("k"), Value: []byte("v")}
	letter := func(change func(*kgo.Record)) *kgo.Record {
		l := &kgo.Record{Value: []byte("v"), Headers: []kgo.RecordHeader{
			{Key: "onehop-topic", Value: []byte("t")},
			{Key: "onehop-partition", Value: []byte("2")},
			{Key: "onehop-offset", Value: []byte("7")},
			{Key: "onehop-key", Value: []byte("k")},
			{Key: "onehop-reason", Value: []byte("because")},
		}}
		change(l)
		return l
	}
	for want, change := range map[string]func(*kgo.Record){
		"":                 func(*kgo.Record) {},
		"value":            func(l *kgo.Record) { l.Value = nil },
		"onehop-topic":     func(l *kgo.Record) { l.Headers[0].Value = []byte("u") },
		"onehop-partition": func(l *kgo.Record) { l.Headers[1].Value = []byte("3") },
		"onehop-offset":    func(l *kgo.Record) { l.Headers[2].Value = []byte("8") },
		"onehop-key":       func(l *kgo.Record) { l.Headers = append(l.Headers[:3], l.Headers[4:]...) },
		"onehop-reason":    func(l *kgo.Record) { l.Headers[4].Value = nil },
	} {
		if got := wrongLetter(record, letter(change)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
