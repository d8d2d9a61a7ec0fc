package switches

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/inference/traffic"
	"github.com/onehop/onehop/internal/follow"
)

// patience bounds one look at Postgres.
const patience = 5 * time.Second

// Models are what follows: *inference.Set.
type Models interface {
	// Steer takes what is in force, by model.
	Steer(live map[string]traffic.Live)
	// Outcomes are what became of it, by model.
	Outcomes() map[string]traffic.Outcome
}

// Follower keeps the models of a service up with the switches of a namespace, and records what became of each. It is safe for
// concurrent use.
type Follower struct {
	store    *Store
	models   Models
	instance string
	snapshot string
	log      *slog.Logger

	mu       sync.Mutex // one look at a time
	live     map[string]traffic.Live
	recorded map[string]traffic.Outcome
}

// Follow takes what is in force from Postgres or, when it is away, from the snapshot file, which is there after any start with Postgres, whatever
// was switched: a canary that was taken back does not come again by a restart. instance names the service in the record; snapshot is the file's path, empty for none.
func Follow(ctx context.Context, store *Store, models Models, instance, snapshot string, log *slog.Logger) (*Follower, error) {
	f := &Follower{store: store, models: models, instance: instance, snapshot: snapshot, log: log, recorded: map[string]traffic.Outcome{}}
	err := f.Look(ctx)
	if err == nil {
		return f, nil
	}
	if snapshot == "" {
		return nil, fmt.Errorf("no Postgres, and no snapshot of what was switched: %w", err)
	}
	var live map[string]traffic.Live
	if fileErr := follow.ReadSnapshot(snapshot, &live); fileErr != nil {
		return nil, errors.Join(fmt.Errorf("no Postgres, and no snapshot of what was switched, without which nobody knows which versions are to be served: %w", err), fileErr)
	}
	log.Warn("Postgres is away; starting from the snapshot of what was switched", "snapshot", snapshot, "error", err)
	f.live = live
	models.Steer(live)
	return f, nil
}

// Run follows until the context ends.
func (f *Follower) Run(ctx context.Context) error {
	announced := follow.Channel{Pool: f.store.pool, Name: channel, Log: f.log}
	return announced.Run(ctx, func(ctx context.Context, _ *pgxpool.Conn) error { return f.Look(ctx) })
}

// Look takes what is in force now, and records what became of it.
func (f *Follower) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	live, err := f.store.current(ctx, f.store.pool)
	if err != nil {
		return err
	}
	if f.live == nil || !reflect.DeepEqual(live, f.live) {
		f.take(live)
	}
	for model, outcome := range f.models.Outcomes() {
		if f.recorded[model] == outcome {
			continue
		}
		if err := f.store.record(ctx, f.instance, outcome); err != nil {
			return err
		}
		f.recorded[model] = outcome
	}
	return nil
}

func (f *Follower) take(live map[string]traffic.Live) {
	f.models.Steer(live)
	for model, l := range live {
		if f.live[model].Switch != l.Switch {
			f.log.Info("model switch received", "model", model, "switch", l.Switch)
		}
	}
	f.live = maps.Clone(live)
	if f.snapshot == "" {
		return
	}
	if err := follow.WriteSnapshot(f.snapshot, live); err != nil {
		f.log.Warn("the snapshot of what was switched was not written", "snapshot", f.snapshot, "error", err)
	}
}
