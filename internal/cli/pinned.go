package cli

import (
	"context"

	"github.com/onehop/onehop/featurestore/history"
)

// pinned is one history, however often it is opened: a snapshot that is lost with its
// connection is opened again at the offsets of the first one.
type pinned struct {
	*patience
	namespace string
	snapshot  *history.Snapshot // nil for none
	offsets   history.Offsets   // of the first snapshot
}

// with does work on the history, again when Postgres went away meanwhile and came back.
func (p *pinned) with(ctx context.Context, work func(s *history.Snapshot) error) error {
	return p.try(ctx, func() error {
		if err := p.open(ctx); err != nil {
			return err
		}
		err := work(p.snapshot)
		if err != nil {
			p.close(ctx)
		}
		return err
	})
}

func (p *pinned) open(ctx context.Context) (err error) {
	if p.snapshot != nil {
		return nil
	}
	if p.snapshot, err = history.OpenSnapshot(ctx, p.pool, p.namespace, p.offsets); err != nil {
		p.snapshot = nil
		return err
	}
	if p.offsets = p.snapshot.Offsets(); p.offsets == nil {
		p.offsets = history.Offsets{} // of no history, which is not: as it is now
	}
	return nil
}

func (p *pinned) close(ctx context.Context) {
	if p.snapshot != nil {
		p.snapshot.Close(ctx)
		p.snapshot = nil
	}
}
