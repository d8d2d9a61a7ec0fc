package history

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/served"
)

// ForgetServed deletes from the serving log the vectors of an entity, by its encoded key, and
// returns how many there were; a dry run only counts them.
func ForgetServed(ctx context.Context, pool *pgxpool.Pool, namespace, entity string, key []byte, dryRun bool) (vectors int64, err error) {
	table := pgx.Identifier{"onehop_" + namespace, featurestore.ServedSource}.Sanitize()
	var there bool
	if err := pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there); err != nil {
		return 0, fmt.Errorf("looking for the serving log: %w", err)
	}
	if !there {
		return 0, nil
	}
	const where = " WHERE $1 = ANY(f_entities)"
	if dryRun {
		err = pool.QueryRow(ctx, "SELECT count(*) FROM "+table+where, served.EntityText(entity, key)).Scan(&vectors)
	} else {
		tag, failed := pool.Exec(ctx, "DELETE FROM "+table+where, served.EntityText(entity, key))
		vectors, err = tag.RowsAffected(), failed
	}
	if err != nil {
		return 0, fmt.Errorf("deleting from the serving log: %w", err)
	}
	return vectors, nil
}
