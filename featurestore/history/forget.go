package history

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
)

// Forgotten are the events of one source by which one entity is known, up to some offsets.
type Forgotten struct {
	Source *featurestore.Source
	// Fields are lists of field indexes. An event is meant when, for one of the lists, its
	// fields hold the key: a follower and who is followed may both be users.
	Fields [][]int
	// Key is the entity's join keys, none of them null.
	Key []featurestore.Value
	// Until says how far: partitions that are not named have none of these events.
	Until Offsets
}

// condition is true of the events, in SQL. There are columns that an old table may lack.
func (f *Forgotten) condition(columns map[string]bool) string {
	var lists []string
	for _, fields := range f.Fields {
		var all []string
		for i, field := range fields {
			name := "f_" + f.Source.Fields[field].Name
			if !columns[name] {
				all = []string{"false"}
				break
			}
			all = append(all, pgx.Identifier{name}.Sanitize()+" = "+literal(f.Key[i]))
		}
		lists = append(lists, "("+strings.Join(all, " AND ")+")")
	}
	return fmt.Sprintf("((%s) AND kafka_offset < %s)", strings.Join(lists, " OR "), f.Until.next(f.Source.Name))
}

// literal is a part of a key in SQL. It is not a parameter, because it stands in queries whose
// parameters are numbered elsewhere, and it is in hexadecimal, so that nothing needs quoting.
func literal(v featurestore.Value) string {
	switch v.Type {
	case featurestore.Int64:
		return "'" + strconv.FormatInt(v.Int(), 10) + "'::bigint"
	case featurestore.Bytes:
		return "decode('" + hex.EncodeToString(v.Bytes) + "', 'hex')"
	default:
		return "convert_from(decode('" + hex.EncodeToString(v.Bytes) + "', 'hex'), 'UTF8')"
	}
}

// Without is the same snapshot as if the events had never been. It shares the transaction,
// and is not closed.
func (s *Snapshot) Without(ctx context.Context, f *Forgotten) (*Snapshot, error) {
	columns, err := s.table(ctx, f.Source.Name)
	if err != nil || len(columns) == 0 {
		return s, err
	}
	other := *s
	other.omitted = " AND (" + f.condition(columns) + ") IS NOT TRUE"
	return &other, nil
}

// KeysIn calls yield for the join keys of the entities that the events are of too, or of
// themselves. fields are the indexes of the fields that hold those keys. The values belong to
// yield until it returns.
func (s *Snapshot) KeysIn(ctx context.Context, f *Forgotten, fields []int, yield func(key []featurestore.Value) error) error {
	list, there, err := s.keyColumns(ctx, f.Source, fields)
	if err != nil || list == "" {
		return err
	}
	query := fmt.Sprintf("SELECT DISTINCT %s FROM %s WHERE %s AND %s", list, s.name(f.Source.Name), there, f.condition(s.columns[f.Source.Name]))
	return s.keys(ctx, f.Source, fields, query, yield)
}

// Count is how many events there are in the snapshot.
func (s *Snapshot) Count(ctx context.Context, f *Forgotten) (events int64, err error) {
	columns, err := s.table(ctx, f.Source.Name)
	if err != nil || len(columns) == 0 {
		return 0, err
	}
	if err := s.tx.QueryRow(ctx, "SELECT count(*) FROM "+s.name(f.Source.Name)+" WHERE "+f.condition(columns)).Scan(&events); err != nil {
		return 0, fmt.Errorf("counting events of source %q: %w", f.Source.Name, err)
	}
	return events, nil
}

// OffsetsOf are those of one source.
func (s *Snapshot) OffsetsOf(source string) Offsets {
	return slices.DeleteFunc(slices.Clone(s.offsets), func(o Offset) bool { return o.Source != source })
}

// Deletion is the record of what was deleted of one entity and source, in onehop.deletions.
type Deletion struct {
	Source string `json:"source"`
	Entity string `json:"entity"`
	// Key is the encoded key, as [featurestore.KeyText] writes it.
	Key string `json:"key"`
	// Events were deleted from history by this deletion.
	Events int64 `json:"events"`
	// RowsDeleted and RowsRewritten are the rows in Redis that were deleted, or folded anew
	// without the events because they are of other entities.
	RowsDeleted   int `json:"rows_deleted"`
	RowsRewritten int `json:"rows_rewritten"`
	// Tombstone says that the source's topic has one.
	Tombstone bool `json:"tombstone"`
	// KafkaUntil is when Kafka has dropped the events too; nil where it keeps them.
	KafkaUntil *time.Time `json:"kafka_until,omitempty"`

	id int64 // of the row, once it is begun
}

// Begin writes down that the deletion begins; for one that was begun it does nothing.
func (d *Deletion) Begin(ctx context.Context, pool *pgxpool.Pool, namespace string) error {
	if d.id != 0 {
		return nil
	}
	err := pool.QueryRow(ctx, `INSERT INTO onehop.deletions
		(namespace, entity, entity_key, source, events, rows_deleted, rows_rewritten, tombstone, kafka_until)
		VALUES ($1, $2, $3, $4, 0, 0, 0, false, $5) RETURNING id`, namespace, d.Entity, d.Key, d.Source, d.KafkaUntil).Scan(&d.id)
	if err != nil {
		return fmt.Errorf("writing a deletion down: %w", err)
	}
	return nil
}

// Stopped writes down what a deletion that goes no further has done, even when ctx is over.
func (d *Deletion) Stopped(ctx context.Context, pool *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := pool.Exec(ctx, "UPDATE onehop.deletions SET rows_deleted = $2, rows_rewritten = $3, tombstone = $4 WHERE id = $1 AND deleted_at IS NULL",
		d.id, d.RowsDeleted, d.RowsRewritten, d.Tombstone)
	if err != nil {
		return fmt.Errorf("writing down how far a deletion got: %w", err)
	}
	return nil
}

// Forget deletes the events from history and writes down that the deletion, which was begun, is
// done, in one transaction. It sets the number of events of the record. Who reads a snapshot that was opened before goes
// on seeing them.
func Forget(ctx context.Context, pool *pgxpool.Pool, namespace string, f *Forgotten, d *Deletion) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		s := &Snapshot{tx: tx, namespace: namespace, columns: map[string]map[string]bool{}}
		columns, err := s.table(ctx, f.Source.Name)
		if err != nil {
			return err
		}
		d.Events = 0
		if len(columns) > 0 {
			tag, err := tx.Exec(ctx, "DELETE FROM "+s.name(f.Source.Name)+" WHERE "+f.condition(columns))
			if err != nil {
				return err
			}
			d.Events = tag.RowsAffected()
		}
		_, err = tx.Exec(ctx, `UPDATE onehop.deletions SET deleted_at = now(), events = $2, rows_deleted = $3, rows_rewritten = $4, tombstone = $5
			WHERE id = $1`, d.id, d.Events, d.RowsDeleted, d.RowsRewritten, d.Tombstone)
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting events of source %q from history: %w", f.Source.Name, err)
	}
	return nil
}
