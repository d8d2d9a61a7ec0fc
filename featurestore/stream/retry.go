package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// One transaction puts back so many letters, or so many bytes of values, at the most.
	maxRetryLetters = 500
	maxRetryBytes   = 8 << 20
	// retryTimeout is after how long the broker aborts a transaction that its owner left
	// open: readers of committed records cannot pass it meanwhile.
	retryTimeout = 20 * time.Second
)

// ErrRetriedElsewhere means that another retry of the same letters began later and has taken
// over. What this one had committed is marked, and stays.
var ErrRetriedElsewhere = errors.New("another retry of the same dead letters has taken over, or this one took too long: run it again")

// Retry puts records back on the source's topic and says how many. choose is given the
// letters, as [Letters.List] does, and returns those to put back; reading and putting, when
// not nil, are told how many records were read and how many put back. Letters that are retried already, or cut, are an error.
//
// No letter is ever put back twice. A transaction holds both the records and, under the
// letters' keys in the dead-letter topic, the marks that they were put back: readers of
// committed records see all of it or nothing, after a crash too. And of all retries of a
// topic the last one to begin is alone: they share a transactional id, so its start ends
// what others have open, and Kafka refuses what they try after that. Only then does it read
// which letters have marks. So what it reads stays true until it writes.
//
// It does not go on after an error: what has become of the last transaction is for the next
// retry to read.
func (l *Letters) Retry(ctx context.Context, choose func([]Letter) ([]Letter, error), reading, putting func(done int)) (done int, err error) {
	r, err := l.fence(ctx)
	if err != nil {
		return 0, err
	}
	defer r.client.Close()
	list, err := l.List(ctx, reading)
	if err != nil {
		return 0, err
	}
	chosen, err := choose(list)
	if err != nil {
		return 0, err
	}
	flush := func() error {
		n := len(r.batch)
		if err := r.commit(ctx); err != nil || n == 0 {
			return err
		}
		if done += n; putting != nil {
			putting(done)
		}
		return nil
	}
	err = l.Each(ctx, chosen, func(letter *Letter) error {
		if letter.Retried != nil || letter.Cut != "" {
			return fmt.Errorf("the letter %s cannot be put back: %s", letter.ID, cannot(letter))
		}
		if len(r.batch) == maxRetryLetters || r.bytes+letter.Size > maxRetryBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		r.batch, r.bytes = append(r.batch, letter), r.bytes+letter.Size
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil && done > 0 && visible(ctx, r.letters.client, r.ends) != nil {
		err = errors.New("the records are put back, but Kafka does not show them yet")
	}
	return done, err
}

func cannot(letter *Letter) string {
	if letter.Retried != nil {
		return "it was put back before"
	}
	return letter.Cut
}

// retrier writes transactions.
type retrier struct {
	letters *Letters
	client  *kgo.Client
	batch   []*Letter // of the next transaction
	bytes   int
	ends    map[string]map[int32]int64 // offsets after the last records, by topic and partition
}

// fence ends what other retries of the topic have open, and keeps them from writing.
func (l *Letters) fence(ctx context.Context) (*retrier, error) {
	client, err := kgo.NewClient(append(slices.Clone(l.options),
		kgo.TransactionalID("onehop.retry."+l.source.Topic),
		kgo.TransactionTimeout(retryTimeout),
		kgo.RecordDeliveryTimeout(retryTimeout/2),
		kgo.ProducerBatchMaxBytes(2<<20),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(samePartition)),
	)...)
	if err != nil {
		return nil, fmt.Errorf("the Kafka client: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, 2*retryTimeout)
	defer cancel()
	if _, _, err := client.ProducerID(within); err != nil {
		client.Close()
		return nil, fmt.Errorf("beginning transactions for topic %q: %w", l.source.Topic, err)
	}
	return &retrier{letters: l, client: client, ends: map[string]map[int32]int64{}}, nil
}

// samePartition leaves a record in the partition that it was in, where there is one of that
// number, and otherwise goes by its key.
func samePartition(topic string) func(*kgo.Record, int) int {
	byKey := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	return func(r *kgo.Record, n int) int {
		if int(r.Partition) < n {
			return int(r.Partition)
		}
		return byKey.Partition(r, n)
	}
}

// commit puts back the letters of the batch in one transaction.
func (r *retrier) commit(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	// An end that is cut off leaves a transaction open, in the way of every reader.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryTimeout)
	defer cancel()
	err := r.produce(ctx)
	switch {
	case err == nil:
		err = r.client.EndTransaction(within, kgo.TryCommit)
	case !fenced(err):
		err = errors.Join(err, r.client.EndTransaction(within, kgo.TryAbort))
	}
	r.batch, r.bytes = nil, 0
	switch {
	case fenced(err):
		return ErrRetriedElsewhere // what Kafka called it says no more
	case err != nil:
		return fmt.Errorf("putting records back on topic %q: %w", r.letters.source.Topic, err)
	}
	return nil
}

// produce writes the records and the marks of the batch, in a transaction that stays open.
func (r *retrier) produce(ctx context.Context) error {
	if err := r.client.BeginTransaction(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, retryTimeout)
	defer cancel()
	now := time.Now()
	records, marks := make([]*kgo.Record, len(r.batch)), make([]*kgo.Record, len(r.batch))
	for i, letter := range r.batch {
		records[i] = letter.Again(r.letters.source, now)
	}
	if err := r.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	for i, letter := range r.batch {
		marks[i] = newMark(DeadLetterTopic(r.letters.source), letter, records[i])
		marks[i].Partition = letter.partition
	}
	if err := r.client.ProduceSync(ctx, marks...).FirstErr(); err != nil {
		return err
	}
	for _, written := range slices.Concat(records, marks) {
		if r.ends[written.Topic] == nil {
			r.ends[written.Topic] = map[int32]int64{}
		}
		r.ends[written.Topic][written.Partition] = max(r.ends[written.Topic][written.Partition], written.Offset+1)
	}
	return nil
}

// visible waits until readers see what was committed, up to the ends of the logs, which
// are after the last records by topic and partition: a transaction that is committed is shown
// a moment later, and who reads next should not see how it was before.
func visible(ctx context.Context, client *kgo.Client, ends map[string]map[int32]int64) error {
	ctx, cancel := context.WithTimeout(ctx, retryTimeout)
	defer cancel()
	for topic, ends := range ends {
		for behind := true; behind; {
			_, logs, err := Logs(ctx, client, topic)
			if err != nil {
				return err
			}
			behind = false
			for partition, end := range ends {
				behind = behind || logs[partition].End <= end // the end of the transaction follows
			}
			if behind && !wait(ctx, 10*time.Millisecond) {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// fenced says whether Kafka refused a writer because another has its transactional id.
func fenced(err error) bool {
	return errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.ProducerFenced) ||
		errors.Is(err, kerr.InvalidTxnState) // its transaction was ended by the other
}
