package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

const (
	// maxLetters bounds the letters that are listed, and so the memory for it.
	maxLetters = 1_000_000
	// scanPatience is how long a scan waits for the next records.
	scanPatience = 30 * time.Second
)

// Letters are the dead letters of a source. It is safe for concurrent use. Close it when
// nobody uses it any more.
type Letters struct {
	source  *featurestore.Source
	options []kgo.Opt
	client  *kgo.Client
}

// NewLetters opens the dead letters of a source, by the newest definition, with a client's
// options: brokers, TLS, SASL.
func NewLetters(source *featurestore.Source, options []kgo.Opt) (*Letters, error) {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("the Kafka client: %w", err)
	}
	return &Letters{source: source, options: options, client: client}, nil
}

// Close closes the connections.
func (l *Letters) Close() { l.client.Close() }

// List returns all letters, those of the newest records first, without their records. Copies
// of a letter are one. It reads the whole topic; report, when not nil, is told how many
// records it has read.
func (l *Letters) List(ctx context.Context, report func(done int)) ([]Letter, error) {
	index := map[string]int{}
	marks := map[string]*Retried{}
	var list []Letter
	done := 0
	err := l.scan(ctx, nil, func(r *kgo.Record) error {
		if done++; report != nil {
			report(done)
		}
		if len(list) == maxLetters || len(marks) == maxLetters {
			return fmt.Errorf("topic %q has more than %d letters, or as many that were put back: delete its oldest records", DeadLetterTopic(l.source), maxLetters-1)
		}
		if mark := parseMark(r); mark != nil {
			marks[string(r.Key)] = mark
			return nil
		}
		letter, err := parseLetter(r)
		if err != nil {
			return nil //nolint:nilerr // somebody else's record is not in the list
		}
		if _, known := index[letter.ID]; known {
			return nil
		}
		index[letter.ID], letter.Record = len(list), nil
		list = append(list, letter)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id, mark := range marks {
		if at, known := index[id]; known {
			list[at].Retried = mark
		}
	}
	slices.SortStableFunc(list, func(a, b Letter) int { return b.Time.Compare(a.Time) })
	return list, nil
}

// Each reads letters of a list again and gives f each with its record, in the order in which
// they were written. The letter is f's to keep.
func (l *Letters) Each(ctx context.Context, list []Letter, f func(*Letter) error) error {
	type place struct {
		partition int32
		offset    int64
	}
	wanted := map[place]*Letter{}
	spans := map[int32]span{}
	for i := range list {
		at := place{list[i].partition, list[i].offset}
		wanted[at] = &list[i]
		s, seen := spans[at.partition]
		if !seen {
			s.from = at.offset
		}
		spans[at.partition] = span{min(s.from, at.offset), max(s.to, at.offset+1)}
	}
	if len(list) == 0 {
		return nil
	}
	err := l.scan(ctx, spans, func(r *kgo.Record) error {
		at := place{r.Partition, r.Offset}
		known := wanted[at]
		if known == nil {
			return nil
		}
		delete(wanted, at)
		whole, err := parseLetter(r)
		if err != nil || whole.ID != known.ID {
			return fmt.Errorf("the letter %s is no longer where it was: has topic %q been made again?", known.ID, r.Topic)
		}
		whole.Retried = known.Retried
		return f(&whole)
	})
	if err == nil && len(wanted) > 0 {
		err = fmt.Errorf("%d letters were deleted from topic %q meanwhile: its retention.ms should be -1", len(wanted), DeadLetterTopic(l.source))
	}
	return err
}

// span is a part of a partition's log: the offsets in [from, to).
type span struct{ from, to int64 }

// scan reads committed records of the dead-letter topic, of the whole logs or of parts of
// them, as far as they reach now. A topic that is not there has none.
func (l *Letters) scan(ctx context.Context, spans map[int32]span, f func(*kgo.Record) error) error {
	topic := DeadLetterTopic(l.source)
	if spans == nil {
		_, logs, err := Logs(ctx, l.client, topic)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil
		}
		if err != nil {
			return err
		}
		spans = map[int32]span{}
		for partition, log := range logs {
			spans[partition] = span{log.Start, log.End}
		}
	}
	return scan(ctx, topic, l.options, spans, f)
}

// scan reads the committed records of parts of a topic's logs.
func scan(ctx context.Context, topic string, options []kgo.Opt, spans map[int32]span, f func(*kgo.Record) error) error {
	from := map[int32]kgo.Offset{}
	for partition, s := range spans {
		if s.from < s.to {
			from[partition] = kgo.NewOffset().At(s.from)
		}
	}
	if len(from) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(slices.Clone(options),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the last record of a transaction is one
		kgo.FetchMaxBytes(8<<20), kgo.FetchMaxPartitionBytes(4<<20),
	)...)
	if err != nil {
		return fmt.Errorf("the Kafka client: %w", err)
	}
	defer client.Close()
	for left := len(from); left > 0; {
		records, err := poll(ctx, client)
		if err != nil {
			return fmt.Errorf("reading topic %q: %w", topic, err)
		}
		for _, r := range records {
			if r.Offset < spans[r.Partition].to && !r.Attrs.IsControl() {
				if err := f(r); err != nil {
					return err
				}
			}
			if _, reading := from[r.Partition]; reading && r.Offset >= spans[r.Partition].to-1 {
				delete(from, r.Partition)
				left--
			}
		}
	}
	return nil
}

// poll waits for records, but not for ever.
func poll(ctx context.Context, client *kgo.Client) ([]*kgo.Record, error) {
	within, cancel := context.WithTimeout(ctx, scanPatience)
	defer cancel()
	fetches := client.PollFetches(within)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case within.Err() != nil:
		return nil, fmt.Errorf("no answer within %s", scanPatience)
	}
	return fetches.Records(), fetches.Err()
}
