package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/internal/movielens"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const (
	// pollEvery is how often is looked what is visible: the resolution of the measurement.
	pollEvery = 50 * time.Millisecond
	// visibleWithin bounds the wait for events to become visible.
	visibleWithin = 5 * time.Minute
)

// feed sends all records and waits until every one is visible, online and in history.
// The clock runs from the first rating that is sent.
func (s *stack) feed(data *movielens.Dataset, r *report, p *progress) error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, visibleWithin, fmt.Errorf("the events were not visible within %s", visibleWithin))
	defer cancel()
	records := events.Of(data)
	first := len(data.Movies) + len(data.Users)
	done := p.step(fmt.Sprintf("Sending %d movies and %d users", len(data.Movies), len(data.Users)))
	err := s.produce(ctx, records[:first])
	if err == nil {
		err = s.profilesVisible(ctx, data)
	}
	if done(); err != nil {
		return err
	}
	ids := idsOf(data)
	total := len(records) - first
	progress := p.bar("Ratings visible", total)
	var online, history atomic.Int64
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.produce(ctx, records[first:]) })
	var mu sync.Mutex
	watch := func(seen *atomic.Int64, count func() (int, error), took *time.Duration) func() error {
		return func() error {
			return every(ctx, pollEvery, func() (bool, error) {
				n, err := count()
				if err != nil {
					return false, err
				}
				*took = time.Since(start)
				seen.Store(int64(n))
				mu.Lock()
				defer mu.Unlock()
				progress.set(int(min(online.Load(), history.Load())))
				if n > total {
					return false, fmt.Errorf("%d ratings are visible, but only %d were sent: some were counted twice", n, total)
				}
				return n == total, nil
			})
		}
	}
	var onlineTook, historyTook time.Duration
	group.Go(watch(&online, func() (int, error) { return s.countOnline(ctx, ids) }, &onlineTook))
	group.Go(watch(&history, func() (int, error) { return s.countHistory(ctx) }, &historyTook))
	if err := group.Wait(); err != nil {
		return err
	}
	r.Ingest = ingestReport{
		Ratings: total, Online: newSpeed(total, onlineTook), History: newSpeed(total, historyTook),
	}
	return nil
}

// produce sends records with their event times as timestamps and waits until Kafka has
// them.
func (s *stack) produce(ctx context.Context, records []events.Record) error {
	sending, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for i := range records {
		record := &kgo.Record{
			Topic: s.catalog.Source(records[i].Source).Topic, Key: records[i].Key, Value: records[i].Value,
			Timestamp: time.UnixMicro(records[i].Time),
		}
		s.kafka.Produce(sending, record, func(_ *kgo.Record, err error) {
			if err != nil {
				stop(fmt.Errorf("sending events to Kafka: %w", err)) // the first one stays
			}
		})
	}
	if err := s.kafka.Flush(sending); err != nil && sending.Err() == nil {
		return fmt.Errorf("sending events to Kafka: %w", err)
	}
	return context.Cause(sending)
}

// ids are the keys of all users and movies.
type ids struct{ users, movies []int64 }

func idsOf(data *movielens.Dataset) ids {
	var all ids
	for _, u := range data.Users {
		all.users = append(all.users, u.ID)
	}
	for _, m := range data.Movies {
		all.movies = append(all.movies, m.ID)
	}
	return all
}

// countOnline counts the ratings in the online features: the sum over all users, or
// over all movies if that is less. A rating folded twice would show.
func (s *stack) countOnline(ctx context.Context, all ids) (int, error) {
	users, err := s.sum(ctx, "user_ratings.count_lifetime", "user_id", all.users)
	if err != nil {
		return 0, err
	}
	movies, err := s.sum(ctx, "movie_ratings.count_lifetime", "movie_id", all.movies)
	return min(users, movies), err
}

func (s *stack) sum(ctx context.Context, feature, key string, keys []int64) (int, error) {
	res, err := s.features.GetOnlineFeatures(ctx, &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{feature}, Entities: map[string]*onehopv1.Values{key: {Int64: keys}},
	})
	switch {
	case notYet(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	total := 0
	for _, n := range res.GetColumns()[0].GetValues().GetInt64() {
		total += int(n)
	}
	return total, nil
}

// countHistory counts the ratings in Postgres.
func (s *stack) countHistory(ctx context.Context) (n int, err error) {
	table := pgx.Identifier{"onehop_" + s.catalog.Namespace, events.Ratings}.Sanitize()
	err = s.pool.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n)
	var missing *pgconn.PgError
	if errors.As(err, &missing) && missing.Code == "42P01" { // the table is made when the first event comes
		return 0, nil
	}
	return n, err
}

// profilesVisible waits until all movies and users are in the online features.
func (s *stack) profilesVisible(ctx context.Context, data *movielens.Dataset) error {
	all := idsOf(data)
	return every(ctx, pollEvery, func() (bool, error) {
		users, err := s.known(ctx, "user_info.age", "user_id", all.users)
		if err != nil || !users {
			return false, err
		}
		return s.known(ctx, "movie_info.title", "movie_id", all.movies)
	})
}

func (s *stack) known(ctx context.Context, feature, key string, keys []int64) (bool, error) {
	res, err := s.features.GetOnlineFeatures(ctx, &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{feature}, Entities: map[string]*onehopv1.Values{key: {Int64: keys}},
	})
	if notYet(err) {
		return false, nil
	}
	for _, status := range res.GetColumns()[0].GetStatuses() {
		if status == onehopv1.Status_STATUS_NOT_FOUND {
			return false, err
		}
	}
	return err == nil, err
}
