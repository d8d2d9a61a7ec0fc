package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore/training/files"
)

// refuseOwn refuses a file that is an export of the very source: its events are in history, and
// would be there twice. Exports say of which topic each event is.
func refuseOwn(ctx context.Context, pool *pgxpool.Pool, namespace, source, name string) (err error) {
	r, err := files.Open(ctx, name, nil, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	at := r.Schema().FieldIndices("topic_id")
	if len(at) == 0 || !r.Next() || r.RecordBatch().NumRows() == 0 {
		return r.Err()
	}
	column, isText := r.RecordBatch().Column(at[0]).(*array.String)
	var id pgtype.UUID
	if !isText || column.IsNull(0) || id.Scan(column.Value(0)) != nil {
		return nil
	}
	var known bool
	const query = "SELECT EXISTS (SELECT FROM onehop.offsets WHERE namespace = $1 AND source = $2 AND topic_id = $3)"
	if err := pool.QueryRow(ctx, query, namespace, source, id).Scan(&known); err != nil {
		return fmt.Errorf("asking which topics history knows: %w", err)
	}
	if known {
		return fmt.Errorf("%s is an export of source %q itself: its events are in history already (topic_id %s)", name, source, column.Value(0))
	}
	return nil
}
