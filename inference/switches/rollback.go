package switches

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/inference/traffic"
)

// ErrNothing means that there is no state to go back to.
var ErrNothing = errors.New("there is no such state to go back to")

// back is the state that a rollback leads to, and the switch that made it, 0 for none.
func (s *Store) back(ctx context.Context, tx pgx.Tx, c *Change, last *Switch) (state traffic.Traffic, to int64, err error) {
	if c.To == 0 {
		return s.before(ctx, tx, last, newestOther)
	}
	err = tx.QueryRow(ctx, `SELECT traffic FROM onehop.model_switches WHERE namespace = $1 AND model = $2 AND id = $3`,
		s.namespace, c.Model, c.To).Scan(&state)
	if errors.Is(err, pgx.ErrNoRows) {
		return state, 0, fmt.Errorf("%w: it has no switch %d (onehop models history)", ErrNothing, c.To)
	}
	if err != nil {
		return state, 0, fmt.Errorf("reading switch %d: %w", c.To, err)
	}
	return state, c.To, nil
}

// The newest state before that of a switch s that an instance took, and the newest that is another than it. States that were refused, or overtaken
// before an instance took them, are passed over: nobody has seen that they can be followed.
const (
	taken = `(SELECT b.id, b.traffic FROM onehop.model_switches b
	WHERE b.namespace = s.namespace AND b.model = s.model AND b.id < s.id
	AND EXISTS (SELECT FROM onehop.model_switch_outcomes o WHERE o.switch_id = b.id AND o.problem = '')`
	newest      = ` ORDER BY b.id DESC LIMIT 1)`
	newestTaken = taken + newest
	newestOther = taken + ` AND b.traffic <> s.traffic` + newest
)

// before is a state before the last switch, newestTaken or newestOther. Where there is none it is that before any switch.
func (s *Store) before(ctx context.Context, tx pgx.Tx, last *Switch, which string) (state traffic.Traffic, to int64, err error) {
	err = tx.QueryRow(ctx, `SELECT b.id, b.traffic FROM onehop.model_switches s, LATERAL `+which+` b WHERE s.id = $1`, last.ID).Scan(&to, &state)
	switch {
	case errors.Is(err, pgx.ErrNoRows) && last.Traffic.Empty():
		return state, 0, fmt.Errorf("%w: nothing that was switched by hand is in force (onehop models show)", ErrNothing)
	case errors.Is(err, pgx.ErrNoRows):
		return state, 0, nil
	case err != nil:
		return state, 0, fmt.Errorf("reading the switches that were taken: %w", err)
	}
	return state, to, nil
}

// inForce is the state of the last switch, but where all who said what became of it refused it, and nobody took it, that before it. A change is
// laid over it: a mistake must not stand in the way of what mends it.
func (s *Store) inForce(ctx context.Context, tx pgx.Tx, last *Switch) (traffic.Traffic, error) {
	var refused bool
	err := tx.QueryRow(ctx, `SELECT coalesce(bool_and(problem <> ''), false) FROM onehop.model_switch_outcomes WHERE switch_id = $1`, last.ID).Scan(&refused)
	if err != nil {
		return traffic.Traffic{}, fmt.Errorf("reading what became of switch %d: %w", last.ID, err)
	}
	if !refused {
		return last.Traffic, nil
	}
	state, _, err := s.before(ctx, tx, last, newestTaken)
	if errors.Is(err, ErrNothing) { // nothing was switched before it
		return traffic.Traffic{}, nil
	}
	return state, err
}
