package stream

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

// The headers of a dead letter that are ours, in the order in which they are written; those
// of the record itself follow.
const (
	headerTopic     = "onehop-topic"
	headerPartition = "onehop-partition"
	headerOffset    = "onehop-offset"
	headerTimestamp = "onehop-timestamp"
	headerKey       = "onehop-key"
	headerReason    = "onehop-reason"
	// headerTruncated is there when the value was cut, and has its length.
	headerTruncated = "onehop-truncated-from"
	// headerDropped stands last, when not all of the record's own headers had room.
	headerDropped = "onehop-headers-dropped"
)

// The headers of a mark: a record with the key of a letter that says that it was put back,
// when, and as which record (partition/offset).
const (
	headerRetried   = "onehop-retried"
	headerRetriedAs = "onehop-retried-as"
)

// Letter is a dead letter: a record that was refused, and why.
type Letter struct {
	// ID is topic id/partition/offset, the key of the letter. A letter may have been
	// written several times; all have the same ID.
	ID string
	// Topic, Partition and Offset are where the record was, Time is its timestamp.
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	Reason    string
	// Size is the length of the value as it is in the letter, in bytes; 0 for none.
	Size int
	// Cut says what of the record the letter lacks; empty when it is whole.
	Cut string
	// Retried says that the record was put back; nil when not.
	Retried *Retried
	// Record is the refused record with its key, value and headers, and where and when it
	// was. It is nil in lists.
	Record *kgo.Record

	partition int32 // of the dead-letter topic, where the letter was first written
	offset    int64
}

// Retried is when a record was put back, and where it is now.
type Retried struct {
	At        time.Time
	Partition int32
	Offset    int64
}

// errNoLetter means that a record of a dead-letter topic is not a letter of ours.
var errNoLetter = errors.New("not a dead letter of Onehop's")

// parseLetter reads a letter. The record shares memory with r.
func parseLetter(r *kgo.Record) (Letter, error) {
	l := Letter{ID: string(r.Key), Size: len(r.Value), partition: r.Partition, offset: r.Offset}
	ours := []string{headerTopic, headerPartition, headerOffset, headerTimestamp, headerKey, headerReason}
	if len(r.Headers) < len(ours) || l.ID == "" {
		return l, errNoLetter
	}
	for i, name := range ours {
		if r.Headers[i].Key != name {
			return l, errNoLetter
		}
	}
	own := r.Headers[len(ours):]
	partition, err1 := strconv.ParseInt(string(r.Headers[1].Value), 10, 32)
	offset, err2 := strconv.ParseInt(string(r.Headers[2].Value), 10, 64)
	at, err3 := time.Parse(time.RFC3339Nano, string(r.Headers[3].Value))
	if err1 != nil || err2 != nil || err3 != nil || partition < 0 || offset < 0 {
		return l, errNoLetter
	}
	l.Topic, l.Partition, l.Offset, l.Time = string(r.Headers[0].Value), int32(partition), offset, at
	l.Reason = string(r.Headers[5].Value)
	key := r.Headers[4].Value
	switch {
	case len(own) > 0 && own[0].Key == headerTruncated:
		l.Cut = fmt.Sprintf("the value had %s bytes and was cut to %d", own[0].Value, len(r.Value))
		own = own[1:]
	case len(key) >= maxLetterKey:
		l.Cut = fmt.Sprintf("the key had %d bytes or more and was cut", maxLetterKey)
	}
	if n := len(own); n > 0 && own[n-1].Key == headerDropped {
		l.Cut = "not all headers of the record had room in the letter"
		own = own[:n-1]
	}
	l.Record = &kgo.Record{
		Topic: l.Topic, Partition: l.Partition, Offset: offset, Timestamp: at, Key: key, Value: r.Value, Headers: own,
	}
	return l, nil
}

// parseMark reads the mark of a letter that was put back; nil when r is none.
func parseMark(r *kgo.Record) *Retried {
	text := header(r, headerRetried)
	if r.Value != nil || text == nil || len(r.Headers) != 2 {
		return nil // a letter, whose record may have had such a header
	}
	mark := &Retried{}
	mark.At, _ = time.Parse(time.RFC3339Nano, string(text))
	_, _ = fmt.Sscanf(string(header(r, headerRetriedAs)), "%d/%d", &mark.Partition, &mark.Offset)
	return mark
}

func newMark(topic string, l *Letter, put *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(l.ID), Headers: []kgo.RecordHeader{
		{Key: headerRetried, Value: formatTime(put.Timestamp)},
		{Key: headerRetriedAs, Value: fmt.Appendf(nil, "%d/%d", put.Partition, put.Offset)},
	}}
}

// Again is the record that puts a letter's record back at a moment: the same key, value and
// headers, for the same partition, with two headers of ours, see [originalTime].
func (l *Letter) Again(source *featurestore.Source, now time.Time) *kgo.Record {
	first := header(l.Record, headerFirstTime) // it may have been put back before
	if _, err := originalTime(l.Record, source); first == nil || err != nil {
		first = formatTime(l.Time)
	}
	headers := slices.DeleteFunc(slices.Clone(l.Record.Headers), func(h kgo.RecordHeader) bool {
		return h.Key == headerFirstTime || h.Key == headerRetryOf
	})
	return &kgo.Record{
		Topic: source.Topic, Partition: l.Partition, Timestamp: now, Key: l.Record.Key, Value: l.Record.Value,
		Headers: append(headers, kgo.RecordHeader{Key: headerFirstTime, Value: first}, kgo.RecordHeader{Key: headerRetryOf, Value: []byte(l.ID)}),
	}
}

func formatTime(t time.Time) []byte { return t.UTC().AppendFormat(nil, time.RFC3339Nano) }
