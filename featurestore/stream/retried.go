package stream

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

// A record that is put back from the dead letters is a new record, with a timestamp of its
// own: the definitions in force then decide about it, and it was not there before for
// anybody who asks what was known when. Two headers say what it was. Together with its
// timestamp they are all that decides, so that every group and every replay decides alike,
// and a broker that stamps records itself changes nothing.
const (
	// headerFirstTime is the timestamp of the record that was refused, RFC 3339: its event
	// time is checked against that, and where a source has the record's timestamp as event
	// time it is that.
	headerFirstTime = "onehop-first-timestamp"
	// headerRetryOf is the key of the letter.
	headerRetryOf = "onehop-retry-of"
)

// originalTime is when a record was first written, in microseconds: its own timestamp, or
// what is said by the header of one that was put back. That may not be later than the
// record itself, by more than clocks may differ: a time to come would pass every check.
func originalTime(r *kgo.Record, source *featurestore.Source) (int64, error) {
	own := r.Timestamp.UnixMicro()
	if len(r.Headers) == 0 {
		return own, nil
	}
	text := header(r, headerFirstTime)
	if text == nil {
		return own, nil
	}
	first, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return 0, BadHeader.because(fmt.Errorf("header %q is %q; it is Onehop's own, and a time", headerFirstTime, shorten(string(text), 60)))
	}
	if at := first.UnixMicro(); at <= own+source.MaxSkew.Microseconds() {
		return at, nil
	}
	return 0, BadHeader.because(fmt.Errorf("header %q is %q, which is after the record's timestamp %s", headerFirstTime, text, featurestore.FormatTime(own)))
}
