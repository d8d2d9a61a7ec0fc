package chaos

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore/stream"
)

// checkLetters looks for every rejected record among the dead letters at least once, as it
// was and with where it came from, and for letters of records that were accepted.
func (c *Checker) checkLetters(ctx context.Context, t *truth, report *Report) error {
	letters, err := ReadLog(ctx, c.Brokers, stream.DeadLetterTopic(c.newest().Source(sourceName)))
	if err != nil {
		return err
	}
	byKey := make(map[string]place, len(t.rejected))
	for p := range t.rejected {
		byKey[fmt.Sprintf("%s/%d/%d", p.topic, p.partition, p.offset)] = p
	}
	seen := make(map[place]bool, len(t.rejected))
	for _, letter := range letters.Records {
		report.Letters++
		p, ok := byKey[string(letter.Key)]
		if !ok {
			report.problemf(&report.Wrong, 1, "a dead letter %q is of no rejected record", letter.Key)
			continue
		}
		seen[p] = true
		if why := wrongLetter(t.rejected[p], letter); why != "" {
			report.problemf(&report.Wrong, 1, "the dead letter %q has the wrong %s", letter.Key, why)
		}
	}
	for p := range t.rejected {
		if !seen[p] {
			report.problemf(&report.Lost, 1, "no dead letter of partition %d, offset %d", p.partition, p.offset)
		}
	}
	return nil
}

// wrongLetter says what of a letter does not tell of the record, or nothing.
func wrongLetter(record, letter *kgo.Record) string {
	want := map[string]string{
		"onehop-topic": record.Topic, "onehop-partition": strconv.Itoa(int(record.Partition)),
		"onehop-offset": strconv.FormatInt(record.Offset, 10), "onehop-key": string(record.Key),
	}
	reason := false
	for _, h := range letter.Headers {
		if value, ok := want[h.Key]; ok && value == string(h.Value) {
			delete(want, h.Key)
		}
		reason = reason || h.Key == "onehop-reason" && len(h.Value) > 0
	}
	for name := range want {
		return name
	}
	switch {
	case !reason:
		return "onehop-reason"
	case !bytes.Equal(record.Value, letter.Value):
		return "value"
	}
	return ""
}
