package maintain

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore/statistics"
)

// SaveBaselines keeps the baselines of a feature service, by feature, in place of those that
// it had.
func SaveBaselines(ctx context.Context, pool *pgxpool.Pool, namespace, service string, baselines map[string]statistics.Baseline) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM onehop.baselines WHERE namespace = $1 AND service = $2", namespace, service); err != nil {
			return err
		}
		for _, feature := range slices.Sorted(maps.Keys(baselines)) {
			const insert = "INSERT INTO onehop.baselines (namespace, service, feature, baseline) VALUES ($1, $2, $3, $4)"
			if _, err := tx.Exec(ctx, insert, namespace, service, feature, baselines[feature]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keeping the baseline of feature service %q: %w", service, err)
	}
	return nil
}

// Baselines are the baselines of a feature service by feature; none when none were kept.
func Baselines(ctx context.Context, pool *pgxpool.Pool, namespace, service string) (map[string]statistics.Baseline, error) {
	rows, err := pool.Query(ctx, "SELECT feature, baseline FROM onehop.baselines WHERE namespace = $1 AND service = $2", namespace, service)
	if err != nil {
		return nil, fmt.Errorf("asking for the baseline of feature service %q: %w", service, err)
	}
	baselines := map[string]statistics.Baseline{}
	var feature string
	var baseline statistics.Baseline
	_, err = pgx.ForEachRow(rows, []any{&feature, &baseline}, func() error {
		baselines[feature] = baseline
		baseline = statistics.Baseline{} // whose slices are the map's
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("asking for the baseline of feature service %q: %w", service, err)
	}
	return baselines, nil
}
