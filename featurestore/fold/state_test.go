package fold

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

// TestOutcomes: an event whose tile has left is late, and is still in what has no tiles.
func TestOutcomes(t *testing.T) {
	view := &featurestore.View{
		Dedupe: featurestore.Dedupe{Field: "user_id", Last: 2},
		Features: []featurestore.Feature{
			{Name: "n", Aggregate: "count", Type: featurestore.Int64, Windows: []featurestore.Window{{Length: time.Minute, Hop: 10 * time.Second}}},
			{Name: "ever", Aggregate: "count", Type: featurestore.Int64, Windows: []featurestore.Window{{}}},
		},
	}
	p, r := compileView(t, view)
	s := p.NewState()
	fold := func(after time.Duration, partition int32, id int64) Outcome {
		t.Helper()
		e := priced(after, id, 1)
		e.Partition = partition
		if err := decodeAgain(s); err != nil {
			t.Fatal(err)
		}
		return s.Fold(&e)
	}
	for i, c := range []struct {
		after     time.Duration
		partition int32
		id        int64
		want      Outcome
	}{
		{0, 0, 1, Folded},
		{5 * time.Minute, 0, 2, Folded},
		{time.Minute, 0, 3, Late},
		{5 * time.Minute, 0, 2, Duplicate},
		{time.Hour, 0, 3, Duplicate},    // whatever its time
		{5 * time.Minute, 1, 3, Folded}, // partitions are apart
		{5 * time.Minute, 0, 1, Folded}, // only two identities are remembered
		{4*time.Minute + 50*time.Second, 0, 1, Duplicate},
	} {
		if got := fold(c.after, c.partition, c.id); got != c.want {
			t.Errorf("event %d: outcome %d, want %d", i, got, c.want)
		}
	}
	cells := make([]featurestore.Cell, 2)
	if err := r.Read(s.AppendRow(nil), s.Newest()+1, cells); err != nil {
		t.Fatal(err)
	}
	if cells[0].Value.Int() != 3 || cells[1].Value.Int() != 5 {
		t.Errorf("counts %v and %v, want 3 and 5", cells[0].Value, cells[1].Value)
	}
}

func decodeAgain(s *State) error {
	if !s.some {
		return nil
	}
	return s.Decode(s.AppendRow(nil))
}

// TestDedupeDependsOnEachPartitionAlone folds the events of three partitions in two
// interleavings.
func TestDedupeDependsOnEachPartitionAlone(t *testing.T) {
	view := testView(t)
	view.Dedupe = featurestore.Dedupe{Field: "stars", Last: 3}
	view.Features = view.Features[:4]
	p, _ := compileView(t, view)
	rapid.Check(t, func(t *rapid.T) {
		var partitions [4][]featurestore.Event
		for _, e := range drawEvents(t) {
			partitions[e.Partition+1] = append(partitions[e.Partition+1], e) // from −1 on
		}
		row := func(name string) []byte {
			s, left := p.NewState(), partitions
			for len(left[0])+len(left[1])+len(left[2])+len(left[3]) > 0 {
				if i := rapid.IntRange(0, 3).Draw(t, name); len(left[i]) > 0 {
					s.Fold(&left[i][0])
					left[i] = left[i][1:]
				}
			}
			return s.AppendRow(nil)
		}
		if !bytes.Equal(row("one"), row("other")) {
			t.Fatal("how partitions interleave changed the row")
		}
	})
}

// TestConditionsLeaveNoTiles: an event that no feature of a hop takes makes its row no
// larger.
func TestConditionsLeaveNoTiles(t *testing.T) {
	p, _ := one(t, featurestore.Feature{Aggregate: "count", Where: "price > 5.0", Windows: []featurestore.Window{{Length: time.Hour, Hop: time.Minute}}})
	s := p.NewState()
	for i := range 30 {
		e := priced(time.Duration(i)*time.Minute, 7, 1)
		s.Fold(&e)
	}
	if n := len(s.sets[0].indexes); n != 0 {
		t.Errorf("%d tiles of nothing", n)
	}
}

// TestEdgesExpireAlone: the latest value that passes a condition may be older than the
// row's newest event, and is EXPIRED by its own age.
func TestEdgesExpireAlone(t *testing.T) {
	view := &featurestore.View{TTL: time.Hour, Features: []featurestore.Feature{
		{Name: "good", Aggregate: "latest", Field: "price", Where: "price > 5.0", Type: featurestore.Float64},
		{Name: "any", Aggregate: "latest", Field: "price", Type: featurestore.Float64},
	}}
	p, r := compileView(t, view)
	s := p.NewState()
	cells := make([]featurestore.Cell, 2)
	for i, c := range []struct {
		after time.Duration
		price float64
		want  string
	}{
		{0, 1, "NULL PRESENT"},
		{time.Minute, 9, "PRESENT PRESENT"},
		{time.Hour, 1, "PRESENT PRESENT"},
		{time.Hour + time.Minute + time.Microsecond, 1, "EXPIRED PRESENT"},
	} {
		e := priced(c.after, int64(i), c.price)
		s.Fold(&e)
		if err := r.Read(s.AppendRow(nil), s.Newest()+1, cells); err != nil {
			t.Fatal(err)
		}
		if got := cells[0].Status.String() + " " + cells[1].Status.String(); got != c.want {
			t.Errorf("after %s: %s, want %s", c.after, got, c.want)
		}
	}
	if cells[0].EventTime != base+time.Minute.Microseconds() {
		t.Errorf("the event time of the good one is %d", cells[0].EventTime-base)
	}
}
