package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/onehop/onehop/featurestore/history"
)

// retain drops what is older than the retention of its source, once in a while; after a first
// pause, which is also how long it waits where it could not.
func (s *service) retain(ctx context.Context, tables []*lazyTable, pause, every time.Duration) {
	for next := pause; !wait(ctx, nil, next); {
		next = every
		for _, t := range tables {
			dropped, err := t.retain(ctx, time.Now())
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, history.ErrRead):
				next = pause
			case err != nil:
				s.Log.Warn("months that are older than the retention are not dropped yet; trying again", "source", t.source.Name, "error", err)
				next = pause
			case len(dropped) > 0:
				s.Log.Info("dropped months of history that are older than the retention", "source", t.source.Name, "retention", t.source.Retention, "months", dropped)
			}
		}
	}
}

// retain drops old months, when there is a table.
func (t *lazyTable) retain(ctx context.Context, now time.Time) ([]string, error) {
	opening.Lock()
	table := t.table
	opening.Unlock()
	if table == nil {
		return nil, nil
	}
	return table.Retain(ctx, now)
}
