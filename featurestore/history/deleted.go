package history

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// LastDeletions say, for each source, when an entity was last deleted from its history, in
// microseconds. What was computed before counted events that are gone.
func (s *Snapshot) LastDeletions(ctx context.Context) (map[string]int64, error) {
	rows, err := s.tx.Query(ctx, `SELECT source, (extract(epoch FROM max(deleted_at)) * 1000000)::bigint
		FROM onehop.deletions WHERE namespace = $1 AND deleted_at IS NOT NULL GROUP BY source`, s.namespace)
	if err != nil {
		return nil, fmt.Errorf("asking for deletions: %w", err)
	}
	last := map[string]int64{}
	var source string
	var at int64
	_, err = pgx.ForEachRow(rows, []any{&source, &at}, func() error {
		last[source] = at
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("asking for deletions: %w", err)
	}
	return last, nil
}
