package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/internal/testenv"
)

const retryPartitions = 3

// deadLetters makes a source's topics in a real Kafka and n letters of records that were in
// its partitions in turn, each letter written twice.
func deadLetters(t *testing.T, n int) (*Letters, *kgo.Client) {
	t.Helper()
	source := testSource()
	source.Topic = testenv.Namespace(t)
	options := []kgo.Opt{kgo.SeedBrokers(testenv.Kafka(t)...), kgo.RecordPartitioner(kgo.ManualPartitioner())}
	client, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for topic, partitions := range map[string]int32{source.Topic: retryPartitions, DeadLetterTopic(source): 1} {
		if err := EnsureTopic(t.Context(), client, topic, partitions, nil); err != nil {
			t.Fatal(err)
		}
	}
	id, _, err := Logs(t.Context(), client, source.Topic)
	if err != nil {
		t.Fatal(err)
	}
	var rejected []Rejection
	for i := range n {
		rejected = append(rejected, Rejection{Reason: errNUL, Record: &kgo.Record{
			Topic: source.Topic, Partition: int32(i % retryPartitions), Offset: int64(i / retryPartitions), Key: fmt.Append(nil, i),
			Value: fmt.Append(nil, "event ", i), Timestamp: time.UnixMilli(recordMillis + int64(i)),
			Headers: []kgo.RecordHeader{{Key: "their", Value: []byte("own")}},
		}})
	}
	for range 2 {
		if err := NewProducer(client).DeadLetters(t.Context(), DeadLetterTopic(source), id, rejected); err != nil {
			t.Fatal(err)
		}
	}
	letters, err := NewLetters(source, options[:1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(letters.Close)
	return letters, client
}

// pending chooses what was not put back yet.
func pending(list []Letter) ([]Letter, error) {
	return slices.DeleteFunc(slices.Clone(list), func(l Letter) bool { return l.Retried != nil }), nil
}

// committed reads the records of the source's topic that are visible.
func (l *Letters) committed(t *testing.T, client *kgo.Client) (records []*kgo.Record) {
	t.Helper()
	_, logs, err := Logs(t.Context(), client, l.source.Topic)
	if err != nil {
		t.Fatal(err)
	}
	from := map[int32]kgo.Offset{}
	for partition, log := range logs {
		if log.End > 0 {
			from[partition] = kgo.NewOffset().AtStart()
		}
	}
	if len(from) == 0 {
		return nil
	}
	reader, err := kgo.NewClient(append(slices.Clone(l.options), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.source.Topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for len(from) > 0 {
		read, err := poll(t.Context(), reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range read {
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
			if r.Offset == logs[r.Partition].End-1 {
				delete(from, r.Partition)
			}
		}
	}
	return records
}

// expectOnce checks that each of n records is back exactly once.
func (l *Letters) expectOnce(t *testing.T, client *kgo.Client, n int) {
	t.Helper()
	times := map[string]int{}
	for _, r := range l.committed(t, client) {
		times[string(r.Value)]++
	}
	for i := range n {
		if value := fmt.Sprint("event ", i); times[value] != 1 {
			t.Errorf("%s is back %d times", value, times[value])
		}
	}
	if len(times) != n {
		t.Errorf("%d different records are back, not %d", len(times), n)
	}
}

func TestRetryPutsRecordsBackAsTheyWere(t *testing.T) {
	letters, client := deadLetters(t, 7)
	before := time.Now().Truncate(time.Millisecond)
	done, err := letters.Retry(t.Context(), pending, nil, nil)
	if err != nil || done != 7 {
		t.Fatalf("%d letters, %v", done, err)
	}
	letters.expectOnce(t, client, 7)
	list, err := letters.List(t.Context(), nil)
	if err != nil || len(list) != 7 {
		t.Fatalf("%d letters, %v", len(list), err)
	}
	places := map[string]*Letter{}
	for i := range list {
		if list[i].Retried == nil {
			t.Fatalf("%s is not marked", list[i].ID)
		}
		places[fmt.Sprintf("%d/%d", list[i].Retried.Partition, list[i].Retried.Offset)] = &list[i]
	}
	if newest := list[0].Time.UnixMilli(); newest != recordMillis+6 {
		t.Errorf("the first letter of the list is of %d", newest)
	}
	for _, r := range letters.committed(t, client) {
		letter := places[fmt.Sprintf("%d/%d", r.Partition, r.Offset)]
		if letter == nil || letter.Partition != r.Partition || string(r.Value) != "event "+string(r.Key) || r.Timestamp.Before(before) ||
			string(header(r, "their")) != "own" || string(header(r, headerRetryOf)) != letter.ID ||
			string(header(r, headerFirstTime)) != string(formatTime(letter.Time)) || len(r.Headers) != 3 {
			t.Errorf("record %+v, letter %+v", r, letter)
		}
	}
	if done, err = letters.Retry(t.Context(), pending, nil, nil); err != nil || done != 0 {
		t.Errorf("again: %d letters, %v", done, err)
	}
	if _, err = letters.Retry(t.Context(), func(all []Letter) ([]Letter, error) { return all, nil }, nil, nil); err == nil || !strings.Contains(err.Error(), "put back before") {
		t.Errorf("what was put back is put back again: %v", err)
	}
	letters.expectOnce(t, client, 7)
}

func TestRetryInSeveralTransactions(t *testing.T) {
	const n = maxRetryLetters + 20
	letters, client := deadLetters(t, n)
	var told []int
	if done, err := letters.Retry(t.Context(), pending, nil, func(done int) { told = append(told, done) }); err != nil || done != n {
		t.Fatalf("%d letters, %v", done, err)
	}
	if !slices.Equal(told, []int{maxRetryLetters, n}) {
		t.Errorf("told %v", told)
	}
	letters.expectOnce(t, client, n)
}

// TestRetryThatCrashed leaves a transaction open: nobody sees anything of it, and the next
// retry need not wait for it to end.
func TestRetryThatCrashed(t *testing.T) {
	letters, client := deadLetters(t, 4)
	crashed, err := letters.fence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := letters.List(t.Context(), nil)
	if err == nil {
		err = letters.Each(t.Context(), list, func(l *Letter) error { crashed.batch = append(crashed.batch, l); return nil })
	}
	if err == nil {
		err = crashed.produce(t.Context())
	}
	crashed.client.Close()
	if err != nil {
		t.Fatal(err)
	}
	if records := letters.committed(t, client); len(records) > 0 {
		t.Fatalf("%d records of an open transaction are visible", len(records))
	}
	if list, err = letters.List(t.Context(), nil); err != nil || list[0].Retried != nil {
		t.Fatalf("%+v, %v", list, err)
	}
	if done, err := letters.Retry(t.Context(), pending, nil, nil); err != nil || done != 4 {
		t.Fatalf("%d letters, %v", done, err)
	}
	letters.expectOnce(t, client, 4)
}

// TestRetryThatWasOvertaken lets a second retry begin and end between the reading and the
// writing of a first one.
func TestRetryThatWasOvertaken(t *testing.T) {
	letters, client := deadLetters(t, 4)
	_, err := letters.Retry(t.Context(), func(list []Letter) ([]Letter, error) {
		if done, err := letters.Retry(t.Context(), pending, nil, nil); err != nil || done != 4 {
			t.Fatalf("the second: %d letters, %v", done, err)
		}
		return pending(list)
	}, nil, nil)
	if !errors.Is(err, ErrRetriedElsewhere) {
		t.Errorf("the first: %v", err)
	}
	letters.expectOnce(t, client, 4)
}

// TestRetriesAtOnce lets several people retry everything at once, and one more
// when they are done.
func TestRetriesAtOnce(t *testing.T) {
	const n = 60
	letters, client := deadLetters(t, n)
	var people sync.WaitGroup
	for range 6 {
		people.Go(func() {
			if _, err := letters.Retry(t.Context(), pending, nil, nil); err != nil && !errors.Is(err, ErrRetriedElsewhere) {
				t.Error(err)
			}
		})
	}
	people.Wait()
	if _, err := letters.Retry(t.Context(), pending, nil, nil); err != nil {
		t.Error(err)
	}
	letters.expectOnce(t, client, n)
}

func TestCutLetterIsNotPutBack(t *testing.T) {
	letters, client := deadLetters(t, 0)
	long := Rejection{Reason: errNUL, Record: &kgo.Record{Topic: letters.source.Topic, Value: make([]byte, maxLetterValue+1)}}
	if err := NewProducer(client).DeadLetters(t.Context(), DeadLetterTopic(letters.source), featurestore.TopicID{1}, []Rejection{long}); err != nil {
		t.Fatal(err)
	}
	if done, err := letters.Retry(t.Context(), pending, nil, nil); err == nil || !strings.Contains(err.Error(), "was cut to 524288") || done != 0 {
		t.Errorf("%d letters, %v", done, err)
	}
}
