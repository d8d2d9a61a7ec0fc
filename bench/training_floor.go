package bench

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/featurestore/training"
)

// asOf looks up the newest event of before a moment, for as many rows as it is given.
const asOf = `
	SELECT k.n, e.* FROM (
		SELECT n, user_id, timestamptz 'epoch' + t * interval '1 microsecond' AS t
		FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS u(user_id, t, n)
	) AS k CROSS JOIN LATERAL (
		SELECT event_time, f_movie_id, f_rating FROM onehop_bench.ratings
		WHERE f_user_id = k.user_id AND event_time < k.t ORDER BY event_time DESC LIMIT 1
	) AS e`

// during reads the events of ranges of time.
const during = `
	SELECT k.n, e.* FROM (
		SELECT n, user_id, timestamptz 'epoch' + since * interval '1 microsecond' AS since, timestamptz 'epoch' + t * interval '1 microsecond' AS t
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS u(user_id, since, t, n)
	) AS k CROSS JOIN LATERAL (
		SELECT event_time, f_rating FROM onehop_bench.ratings
		WHERE f_user_id = k.user_id AND event_time >= k.since AND event_time < k.t
	) AS e`

// lookups asks for the newest event of each row of a spine, in the order of users, which
// costs Postgres least.
func (s *trainingStack) lookups(ctx context.Context, spine *training.Spine) error {
	all, order := spine.Keys[0].Parts[0].Ints, make([]int, len(spine.Times))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(all[a], all[b]), cmp.Compare(spine.Times[a], spine.Times[b]))
	})
	const batch = 8192
	for rows := range slices.Chunk(order, batch) {
		users, times := make([]int64, len(rows)), make([]int64, len(rows))
		for i, row := range rows {
			users[i], times[i] = all[row], spine.Times[row]
		}
		if err := s.drain(ctx, asOf, users, times); err != nil {
			return err
		}
	}
	return nil
}

// reads reads the events that the windows of a spine are folded from: of the first to the
// last row of each user, and of what the view keeps before.
func (s *trainingStack) reads(ctx context.Context, spine *training.Spine) error {
	keep := s.programs["activity"].Lookback()
	first, last := map[int64]int64{}, map[int64]int64{}
	for i, t := range spine.Times {
		user := spine.Keys[0].Parts[0].Ints[i]
		if at, ok := first[user]; !ok || t < at {
			first[user] = t
		}
		last[user] = max(last[user], t)
	}
	var users, since, until []int64
	for _, user := range slices.Sorted(maps.Keys(first)) {
		t := first[user]
		users, since, until = append(users, user), append(since, t-keep), append(until, last[user])
	}
	return s.drain(ctx, during, users, since, until)
}

// drain runs a query and looks at none of its rows.
func (s *trainingStack) drain(ctx context.Context, query string, args ...any) error {
	rows, err := s.pool.Query(ctx, query, append([]any{pgx.QueryExecModeCacheStatement}, args...)...)
	if err != nil {
		return fmt.Errorf("asking Postgres: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		_ = rows.RawValues()
	}
	return rows.Err()
}
