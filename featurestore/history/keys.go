package history

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/featurestore"
)

// Keys calls yield for the join keys of entities with events in the source: of all of them,
// or of about n that random events are of. fields are the indexes of the fields that hold
// the keys. The values belong to yield until it returns.
func (s *Snapshot) Keys(ctx context.Context, source *featurestore.Source, fields []int, n int, yield func(key []featurestore.Value) error) error {
	if n == 0 {
		return s.KeysAfter(ctx, source, fields, nil, yield)
	}
	list, where, err := s.keyColumns(ctx, source, fields)
	if err != nil || list == "" {
		return err
	}
	// Pages of the table are chosen, ten times as many events as entities are wanted.
	share, err := s.share(ctx, source, 10*n)
	if err != nil {
		return err
	}
	query := fmt.Sprintf("SELECT * FROM (SELECT DISTINCT %s FROM %s TABLESAMPLE SYSTEM (%g) WHERE %s) AS sampled ORDER BY random() LIMIT %d",
		list, s.name(source.Name), share, where, n)
	return s.keys(ctx, source, fields, query, yield)
}

// KeysAfter calls yield for the join keys of all entities with events in the source, in the
// order that Postgres has them in: of those after a key, or all when it is nil.
func (s *Snapshot) KeysAfter(ctx context.Context, source *featurestore.Source, fields []int, after []featurestore.Value, yield func(key []featurestore.Value) error) error {
	list, where, err := s.keyColumns(ctx, source, fields)
	if err != nil || list == "" {
		return err
	}
	if after != nil {
		var parts []string
		for _, v := range after {
			parts = append(parts, literal(v))
		}
		where += fmt.Sprintf(" AND (%s) > (%s)", list, strings.Join(parts, ", "))
	}
	query := fmt.Sprintf("SELECT DISTINCT %s FROM %s WHERE %s ORDER BY %s", list, s.name(source.Name), where, list)
	return s.keys(ctx, source, fields, query, yield)
}

// keyColumns are the columns of join keys, in SQL, and the condition that none is null; none
// where history has not seen one of them yet.
func (s *Snapshot) keyColumns(ctx context.Context, source *featurestore.Source, fields []int) (list, there string, err error) {
	columns, err := s.table(ctx, source.Name)
	if err != nil {
		return "", "", err
	}
	var names, conditions []string
	for _, f := range fields {
		name := "f_" + source.Fields[f].Name
		if !columns[name] {
			return "", "", nil
		}
		name = pgx.Identifier{name}.Sanitize()
		names, conditions = append(names, name), append(conditions, name+" IS NOT NULL")
	}
	return strings.Join(names, ", "), strings.Join(conditions, " AND "), nil
}

// keys asks for join keys.
func (s *Snapshot) keys(ctx context.Context, source *featurestore.Source, fields []int, query string, yield func(key []featurestore.Value) error) error {
	rows, err := s.tx.Query(ctx, query)
	if err != nil {
		return fmt.Errorf("listing the entities of source %q: %w", source.Name, err)
	}
	defer rows.Close()
	key := make([]featurestore.Value, len(fields))
	for rows.Next() {
		for i, raw := range rows.RawValues() {
			if key[i], err = valueOf(raw, source.Fields[fields[i]].Type); err != nil {
				return fmt.Errorf("listing the entities of source %q: %w", source.Name, err)
			}
		}
		if err := yield(key); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("listing the entities of source %q: %w", source.Name, err)
	}
	return nil
}

// fewEvents is how many are looked at all: pages are too large a unit to choose among few.
const fewEvents = 100_000

// share is the percentage of a source's events that is about n of them.
func (s *Snapshot) share(ctx context.Context, source *featurestore.Source, n int) (float64, error) {
	events, _, err := s.estimate(ctx, source.Name, nil)
	if err != nil {
		return 0, err
	}
	if events < fewEvents {
		return 100, nil
	}
	return min(100, max(0.01, 100*float64(n)/max(events, 1))), nil
}

// Until is the same snapshot, up to other offsets: of partitions that are not named it has
// nothing. It shares the transaction, and is not closed. It fails with
// [featurestore.Unavailable] when history does not go that far.
func (s *Snapshot) Until(offsets Offsets) (*Snapshot, error) {
	if err := s.offsets.reach(offsets); err != nil {
		return nil, err
	}
	other := *s
	other.offsets, other.cut = offsets, true
	return &other, nil
}
