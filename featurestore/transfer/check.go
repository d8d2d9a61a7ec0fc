package transfer

import (
	"fmt"
	"time"

	"github.com/onehop/onehop/featurestore"
)

func sizeOf(e *featurestore.Event) int {
	n := 0
	for i := range e.Values {
		n += size(&e.Values[i])
	}
	return n
}

// checker finds what is wrong with events, as the decoder of records does.
type checker struct {
	source *featurestore.Source
	now    int64 // when it began, in microseconds
}

// check fills in what is missing and checks the event.
func (c *checker) check(e *featurestore.Event) error {
	for i := range c.source.Fields {
		f := &c.source.Fields[i]
		if !e.Values[i].IsNull() {
			continue
		}
		if f.Default != nil {
			e.Values[i] = *f.Default
		} else if f.Required {
			return fmt.Errorf("column %q has no value, and the field is required", columnsOf(c.source)[i])
		}
	}
	if n := sizeOf(e); n > featurestore.MaxEventBytes {
		return fmt.Errorf("it has %d bytes; at most %d are allowed", n, featurestore.MaxEventBytes)
	}
	return checkTimes(c.source, e, c.now)
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
