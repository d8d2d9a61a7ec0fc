// Package switches stores in Postgres what is switched by hand, which versions of a model answer, as a record that is only
// added to, and lets running services follow it.
package switches

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/inference/traffic"
)

// channel is the Postgres channel on which switches are announced.
const channel = "onehop_models"

// The actions of a switch.
const (
	Set      = "set"       // lays traffic over what is in force
	Rollback = "rollback"  // goes back to an earlier state
	FromFile = "from_file" // goes back to the model's serving.yaml
)

// Store is the switches of one namespace. It is safe for concurrent use and does not own its pool.
type Store struct {
	pool      *pgxpool.Pool
	namespace string
}

// New is the store of a namespace.
func New(pool *pgxpool.Pool, namespace string) *Store {
	return &Store{pool: pool, namespace: namespace}
}

// Namespace is whose switches they are.
func (s *Store) Namespace() string { return s.namespace }

// Change is what somebody wants to switch.
type Change struct {
	Model, Action string
	// Traffic is for Set.
	Traffic traffic.Traffic
	// To is, for Rollback, the switch whose state is wanted; 0 for the newest one before the last switch, and other than it, that an
	// instance took.
	To int64
	// Who switches and why, for the record.
	Who, Reason string
}

// Switch is a change that is in force, or was.
type Switch struct {
	ID     int64     `json:"id"`
	Model  string    `json:"model"`
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	Reason string    `json:"reason"`
	Action string    `json:"action"`
	// BackTo is, for Rollback, the switch that made the state that came back: 0 for the one before any switch; nil where it is not
	// recorded.
	BackTo *int64 `json:"back_to,omitempty"`
	// Was was in force before, over the model's serving.yaml, and Traffic was wanted from then on; the outcomes say who took it.
	Was     traffic.Traffic `json:"was"`
	Traffic traffic.Traffic `json:"traffic"`
	// Outcomes are those of each instance, oldest first.
	Outcomes []Outcome `json:"outcomes"`
	// SupersededBy is the next switch of the model when it came before any instance had said what became of this one, else 0.
	SupersededBy int64 `json:"superseded_by,omitempty"`
}

// Outcome is what became of a switch in an instance of infer.
type Outcome struct {
	Instance string    `json:"instance"`
	At       time.Time `json:"at"`
	// Problem is why it was not taken; empty when it was.
	Problem string `json:"problem"`
}

// Switch stores a change, which is in force from then on, and announces it.
func (s *Store) Switch(ctx context.Context, c Change) (*Switch, error) {
	made := &Switch{Model: c.Model, Who: c.Who, Reason: c.Reason, Action: c.Action}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", "onehop models "+s.namespace); err != nil {
			return fmt.Errorf("locking the switches: %w", err)
		}
		last, err := s.last(ctx, tx, c.Model)
		if err != nil {
			return err
		}
		if made.Was, err = s.inForce(ctx, tx, last); err != nil {
			return err
		}
		if err := s.next(ctx, tx, &c, last, made); err != nil {
			return err
		}
		if err := made.Traffic.Check(); err != nil {
			return err
		}
		const insert = `INSERT INTO onehop.model_switches (namespace, model, who, reason, action, was, traffic, back_to)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id, at`
		err = tx.QueryRow(ctx, insert, s.namespace, c.Model, c.Who, c.Reason, c.Action, made.Was, made.Traffic, made.BackTo).Scan(&made.ID, &made.At)
		if err != nil {
			return fmt.Errorf("storing the switch: %w", err)
		}
		if _, err := tx.Exec(ctx, "SELECT pg_notify($1, $2)", channel, s.namespace); err != nil {
			return fmt.Errorf("announcing the switch: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("switching model %q of namespace %q: %w", c.Model, s.namespace, err)
	}
	return made, nil
}

// last is the newest switch of a model; its ID is 0 when there is none.
func (s *Store) last(ctx context.Context, tx pgx.Tx, model string) (*Switch, error) {
	last := &Switch{Model: model}
	err := tx.QueryRow(ctx, `SELECT id, traffic FROM onehop.model_switches WHERE namespace = $1 AND model = $2 ORDER BY id DESC LIMIT 1`,
		s.namespace, model).Scan(&last.ID, &last.Traffic)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("reading the last switch: %w", err)
	}
	return last, nil
}

// next puts the state that a change leads to into what is made, which has that in force before.
func (s *Store) next(ctx context.Context, tx pgx.Tx, c *Change, last, made *Switch) error {
	switch c.Action {
	case Set:
		made.Traffic = c.Traffic.Over(made.Was)
	case FromFile:
	case Rollback:
		state, to, err := s.back(ctx, tx, c, last)
		if err != nil {
			return err
		}
		made.Traffic, made.BackTo = state, &to
	default:
		return fmt.Errorf("there is no action %q", c.Action)
	}
	return nil
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// current is what is wanted, by model, with what was in force before where no instance has taken it.
func (s *Store) current(ctx context.Context, db querier) (map[string]traffic.Live, error) {
	rows, err := db.Query(ctx, `SELECT s.model, s.id, s.traffic, CASE WHEN NOT EXISTS (
			SELECT FROM onehop.model_switch_outcomes o WHERE o.switch_id = s.id AND o.problem = '') THEN coalesce(b.traffic, '{}') END
		FROM (SELECT DISTINCT ON (model) * FROM onehop.model_switches WHERE namespace = $1 ORDER BY model, id DESC) s
		LEFT JOIN LATERAL `+newestTaken+` b ON true`, s.namespace)
	if err != nil {
		return nil, fmt.Errorf("reading the switches: %w", err)
	}
	all := map[string]traffic.Live{}
	var model string
	var id int64
	var stored, before []byte
	_, err = pgx.ForEachRow(rows, []any{&model, &id, &stored, &before}, func() error {
		live := traffic.Live{Switch: id}
		err := json.Unmarshal(stored, &live.Traffic)
		if err == nil && before != nil {
			err = json.Unmarshal(before, &live.Before)
		}
		if err != nil {
			return fmt.Errorf("switch %d of model %q is damaged: %w", id, model, err)
		}
		all[model] = live
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the switches: %w", err)
	}
	return all, nil
}

// query reads switches with their outcomes, the newest first.
const query = `SELECT id, model, at, who, reason, action, back_to, was, traffic, coalesce((
		SELECT jsonb_agg(jsonb_build_object('instance', instance, 'at', o.at, 'problem', problem) ORDER BY o.id)
		FROM onehop.model_switch_outcomes o WHERE o.switch_id = s.id), '[]'),
	CASE WHEN EXISTS (SELECT FROM onehop.model_switch_outcomes o WHERE o.switch_id = s.id) THEN 0 ELSE coalesce((
		SELECT min(l.id) FROM onehop.model_switches l WHERE l.namespace = s.namespace AND l.model = s.model AND l.id > s.id), 0) END
	FROM onehop.model_switches s WHERE namespace = $1 AND `

// History is the newest switches of a model, or of all when it is empty, newest first, with their outcomes.
func (s *Store) History(ctx context.Context, model string, limit int) ([]Switch, error) {
	rows, err := s.pool.Query(ctx, query+"(model = $2 OR $2 = '') ORDER BY id DESC LIMIT $3", s.namespace, model, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the switches: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Switch])
	if err != nil {
		return nil, fmt.Errorf("reading the switches: %w", err)
	}
	return list, nil
}

// Get is one switch with its outcomes so far.
func (s *Store) Get(ctx context.Context, id int64) (*Switch, error) {
	rows, err := s.pool.Query(ctx, query+"id = $2", s.namespace, id)
	if err != nil {
		return nil, fmt.Errorf("reading switch %d: %w", id, err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByPos[Switch])
	if err != nil {
		return nil, fmt.Errorf("reading switch %d: %w", id, err)
	}
	return found, nil
}

// record adds what became of a switch in an instance, unless that is what was recorded last.
func (s *Store) record(ctx context.Context, instance string, o traffic.Outcome) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO onehop.model_switch_outcomes (switch_id, instance, problem)
		SELECT $1, $2, $3 WHERE $3 IS DISTINCT FROM (
			SELECT problem FROM onehop.model_switch_outcomes WHERE switch_id = $1 AND instance = $2 ORDER BY id DESC LIMIT 1)`,
		o.Switch, instance, o.Problem)
	if err != nil {
		return fmt.Errorf("recording the outcome of switch %d: %w", o.Switch, err)
	}
	return nil
}
