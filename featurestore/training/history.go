package training

import (
	"context"

	"github.com/onehop/onehop/featurestore"
)

// History gives the events of entities. It is implemented by package history over
// Postgres, and in memory by the tests.
type History interface {
	// Estimate says about how many events of the source there are, and of how many entities
	// with keys of those fields.
	Estimate(ctx context.Context, q *Query) (events, entities float64, err error)
	// Walk calls yield for the events of each range, range by range in their order, and in
	// a range as they come into sight. An event belongs to yield until it returns.
	Walk(ctx context.Context, q *Query, yield func(r int, e *featurestore.Event) error) error
	// Newest calls yield for the newest event of each range that has one, in the order of
	// the ranges.
	Newest(ctx context.Context, q *Query, yield func(r int, e *featurestore.Event) error) error
}

// Query asks for events of one source.
type Query struct {
	Source *featurestore.Source
	// KeyFields are the indexes of the source's fields that hold the join keys.
	KeyFields []int
	// Fields are the indexes of the fields that are wanted, ascending; other values of the
	// events may be null.
	Fields []int
	// Keys are what the ranges' keys stand in.
	Keys *Keys
	// Ranges are what is asked for.
	Ranges []Range
	// Available brings the events in the order in which they came into sight of somebody
	// who saw them arrive, and Newest leaves out those that arrived after To.
	Available bool
}

// Range is a stretch of event time of one entity.
type Range struct {
	// Row is the row of Query.Keys that has the entity's key.
	Row uint32
	// From and To are event times in microseconds: [From, To).
	From, To int64
}

// sight is the time from which on an event is seen, in microseconds: just after its event
// time and, where only what was available counts, not before its record's timestamp.
func sight(e *featurestore.Event, available bool) int64 {
	if available {
		return max(e.Time+1, e.RecordTime)
	}
	return e.Time + 1
}
