package stream

import (
	"testing"
	"time"
)

// TestProgress follows the gauges of a partition through a day's work, by a clock of its own.
func TestProgress(t *testing.T) {
	start := time.UnixMilli(recordMillis)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	var s progresses
	s.init(time.Second) // an answer about the end of a log is good for 3 s
	topic := &Topic{Name: "t", Source: "s"}
	p := &partition{topic: topic, number: 7}
	s.assigned(topic, 7)
	ends := func(end int64, asked int) {
		s.update("t", 7, func(p *progress) { p.ends(end, at(asked)) })
	}
	if l := s.list(at(0)); l[0].Behind != -1 || l[0].Since.IsZero() || l[0].Open {
		t.Errorf("before it was ever open: %+v", l[0])
	}
	p.next = 10
	s.opened(p, 12, at(1))
	for _, step := range []struct {
		what   string
		do     func()
		now    int
		behind int64
		since  int // −1 for nothing waits
	}{
		{"a batch is begun", func() { s.begins(p, at(-50)) }, 2, 2, -50},
		{"it hangs, and more arrive", func() { ends(15, 3) }, 9, 5, -50},
		{"the batch is done", func() { p.next = 12; s.processed(p, at(-40), 15) }, 10, 3, -40},
		{"the next one, too", func() { s.begins(p, at(-30)); p.next = 15; s.processed(p, at(-20), 15) }, 10, 0, -20},
		{"Kafka says that this was all", func() { ends(15, 11) }, 12, 0, -1},
		{"Kafka says so again", func() { ends(15, 14) }, 17, 0, -1},
		{"Kafka does not answer", func() {}, 18, 0, 14},
		{"nor later", func() {}, 60, 0, 14},
		{"it is back, and Redis away: nothing is fetched", func() { ends(20, 61); s.closed(p) }, 70, 5, 14},
		{"reading begins anew at a lower offset", func() { p.next = 5; s.opened(p, 20, at(71)) }, 72, 15, 14},
		{"an answer from before that comes late", func() { ends(18, 60) }, 72, 15, 14},
	} {
		step.do()
		l := s.list(at(step.now))[0]
		want := at(step.since)
		if step.since == -1 {
			want = time.Time{}
		}
		if l.Behind != step.behind || !l.Since.Equal(want) || l.Topic != "t" || l.Source != "s" || l.Partition != 7 {
			t.Errorf("%s: behind %d, since %s; want %d, %s", step.what, l.Behind, l.Since, step.behind, want)
		}
	}
	s.revoked("t", []int32{7})
	s.begins(p, at(80))
	if l := s.list(at(81)); len(l) > 0 {
		t.Errorf("a partition of somebody else: %+v", l)
	}
}

func TestKindsOfReasons(t *testing.T) {
	source := testSource()
	source.Fields = append(source.Fields, source.Fields[1])
	source.Fields[6].Name, source.Fields[6].Header = "h", "h"
	for want, value := range map[Kind]string{
		Malformed: "x", WrongType: `{"n":"x"}`, Missing: `{"user":"ann","n":1}`, BadKey: `{"user":""}`,
		TooOld: `{"user":"ann","n":1,"at":1600000000000}`, TooNew: `{"user":"ann","n":1,"at":1800000000000}`, TooLarge: string(make([]byte, 2<<20)),
	} {
		r := retried(value, 0, "h", "1")
		_, err := one(t, NewDecoder([]Version{{Source: source}}, nil), r)
		if got := KindOf(err); got != want {
			t.Errorf("%v is %s, not %s", err, got, want)
		}
	}
	d := NewDecoder([]Version{{Source: source}}, nil)
	if _, err := one(t, d, retried(good, 0, "h", "x")); KindOf(err) != BadHeader {
		t.Error(err)
	}
	r := record("", 0)
	r.Value = nil
	if _, err := one(t, d, r); KindOf(err) != Tombstone {
		t.Error(err)
	}
	source.Format = "avro"
	if _, err := one(t, NewDecoder([]Version{{Source: source}}, nil), retried("x", 0, "h", "1")); KindOf(err) != BadSchema {
		t.Error(err)
	}
}
