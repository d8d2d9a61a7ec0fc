package cli

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
)

// topicsOf are the topics of a source whose events history has.
func topicsOf(ctx context.Context, pool *pgxpool.Pool, namespace, source string) (map[string]bool, error) {
	known := map[string]bool{}
	var id featurestore.TopicID
	rows, err := pool.Query(ctx, "SELECT DISTINCT topic_id FROM onehop.offsets WHERE namespace = $1 AND source = $2", namespace, source)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id)}, func() error {
			known[id.String()] = true
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("asking which topics history knows: %w", err)
	}
	return known, nil
}
