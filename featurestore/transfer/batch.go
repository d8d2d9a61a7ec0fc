package transfer

import (
	"fmt"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// batch collects events that are copied together.
type batch struct {
	source *featurestore.Source
	events []featurestore.Event
	values []featurestore.Value // of the next events
	slab   []featurestore.Value // the newest of which they are a part
	bytes  int
	now    int64 // when it was begun, in microseconds
}

// reset makes the batch empty, to use its memory again.
func (b *batch) reset() { b.events, b.values, b.bytes = b.events[:0], b.slab, 0 }

func newBatch(source *featurestore.Source) *batch {
	return &batch{source: source, events: make([]featurestore.Event, 0, importRows), now: time.Now().UnixMicro()}
}

// slabEvents is for how many events values are allocated together.
const slabEvents = 256

// event is the next event, which is in the batch when it is added.
func (b *batch) event() *featurestore.Event {
	fields := len(b.source.Fields)
	if len(b.values) < fields {
		b.slab = make([]featurestore.Value, slabEvents*fields)
		b.values = b.slab
	}
	clear(b.values[:fields])
	next := b.events[: len(b.events)+1 : cap(b.events)]
	e := &next[len(b.events)]
	*e = featurestore.Event{Values: b.values[:fields:fields]}
	return e
}

func (b *batch) add() {
	e := &b.events[:len(b.events)+1][len(b.events)]
	b.events = b.events[:len(b.events)+1]
	b.values = b.values[len(b.source.Fields):]
	b.bytes += sizeOf(e)
}

func sizeOf(e *featurestore.Event) int {
	n := 0
	for i := range e.Values {
		n += size(&e.Values[i])
	}
	return n
}

// check fills in what is missing and checks the event, as the decoder of records does.
func (b *batch) check(e *featurestore.Event) error {
	for i := range b.source.Fields {
		f := &b.source.Fields[i]
		if !e.Values[i].IsNull() {
			continue
		}
		if f.Default != nil {
			e.Values[i] = *f.Default
		} else if f.Required {
			return fmt.Errorf("column %q has no value, and the field is required", columnsOf(b.source)[i])
		}
	}
	if n := sizeOf(e); n > featurestore.MaxEventBytes {
		return fmt.Errorf("it has %d bytes; at most %d are allowed", n, featurestore.MaxEventBytes)
	}
	return checkTimes(b.source, e, b.now)
}

// maxTime is the first time, in microseconds, that no event may have: seconds taken for milliseconds come
// long before, nanoseconds for microseconds after it.
var maxTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// checkTimes refuses times that ingest would have refused: no row online would have the
// event, and no training set is to.
func checkTimes(source *featurestore.Source, e *featurestore.Event, now int64) error {
	if e.Time <= 0 || e.Time >= maxTime {
		return fmt.Errorf("column %q is %s, which is not between 1970 and 2200: is the unit right?", eventTime, featurestore.FormatTime(e.Time))
	}
	if e.RecordTime == 0 {
		e.RecordTime = e.Time
	}
	switch {
	case e.RecordTime <= 0 || e.RecordTime >= maxTime:
		return fmt.Errorf("column %q is %s, which is not between 1970 and 2200: is the unit right?", recordTime, featurestore.FormatTime(e.RecordTime))
	case e.RecordTime > now+source.MaxSkew.Microseconds():
		return fmt.Errorf("column %q is %s, which is in the future: past events are imported", eventTime, featurestore.FormatTime(e.Time))
	case e.Time > e.RecordTime+source.MaxSkew.Microseconds():
		return fmt.Errorf("column %q is %s, more than the source's max_skew of %s after the record_time %s",
			eventTime, featurestore.FormatTime(e.Time), source.MaxSkew, featurestore.FormatTime(e.RecordTime))
	case e.Time < e.RecordTime-source.MaxAge.Microseconds():
		return fmt.Errorf("column %q is %s, more than the source's max_age of %s before the record_time %s",
			eventTime, featurestore.FormatTime(e.Time), source.MaxAge, featurestore.FormatTime(e.RecordTime))
	}
	return nil
}
