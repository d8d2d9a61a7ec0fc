package maintain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
)

// Verifier compares rows in Redis with the fold of their events in history. It is safe for
// concurrent use.
type Verifier struct {
	Pool    *pgxpool.Pool
	Store   *online.Store
	Catalog *featurestore.Catalog
	// Wait is how long history may take to get as far as the rows are; 0 is not at all.
	Wait time.Duration
	// Progress, if set, is told how many rows more were compared.
	Progress func(rows int)
}

// Verification is what came of verifying a view.
type Verification struct {
	View       string `json:"view"`
	Generation int    `json:"generation"`
	// Rows is how many entities were compared, and Points how many of their values.
	Rows   int `json:"rows"`
	Points int `json:"points"`
	// Different is how many rows differ, by reason.
	Different map[Reason]int `json:"different,omitempty"`
	// Unchecked is how many rows could not be compared, because history had not got as far
	// or their bucket is being filled.
	Unchecked int `json:"unchecked,omitempty"`
	// Differences are the first values that differ, at most one hundred.
	Differences []Difference `json:"differences,omitempty"`
}

// Wrong is how many rows differ.
func (v *Verification) Wrong() int {
	n := 0
	for _, rows := range v.Different {
		n += rows
	}
	return n
}

// Reason is why a row differs.
type Reason string

// The reasons.
const (
	// Definition: the row was written for another definition of the view.
	Definition Reason = "changed definition"
	// Lost: events are missing from the row, or all of it is.
	Lost Reason = "lost"
	// Late: events are missing from the row that came late.
	Late Reason = "late"
	// Unknown: the row holds what no event in history says.
	Unknown Reason = "unknown"
)

// Difference is one value that differs.
type Difference struct {
	Key    string `json:"key"`
	Column string `json:"column,omitempty"`
	Online string `json:"online"`
	// History is what the events of history say.
	History string `json:"history"`
	Reason  Reason `json:"reason"`
}

const (
	maxDifferences = 100
	// chunk is how many entities are compared at a time.
	chunk = 10_000
)

// View verifies a view: about sample entities, chosen by their events, or all when sample
// is 0.
func (v *Verifier) View(ctx context.Context, view *featurestore.View, sample int) (*Verification, error) {
	c, err := v.newComparison(view)
	if err != nil {
		return nil, err
	}
	s, err := history.OpenSnapshot(ctx, v.Pool, v.Catalog.Namespace, nil)
	if err != nil {
		return nil, err
	}
	defer s.Close(ctx)
	batch := newEntities(c.view.Entity)
	err = s.Keys(ctx, c.source, c.view.JoinFields, sample, func(key []featurestore.Value) error {
		if err := batch.add(key); err != nil || batch.len() < chunk {
			return err
		}
		err := c.compare(ctx, batch)
		batch = newEntities(c.view.Entity)
		return err
	})
	if err == nil {
		err = c.compare(ctx, batch)
	}
	if err != nil {
		return nil, fmt.Errorf("verifying view %q: %w", view.Name, err)
	}
	return c.result, nil
}

// compare compares the rows of some entities. What Redis says comes first: history goes at
// least as far then, or will soon.
func (c *comparison) compare(ctx context.Context, batch *entities) error {
	looks := map[int]*online.Look{}
	for bucket, rows := range batch.buckets {
		look, err := c.Store.Look(ctx, c.online, bucket, batch.keysOf(rows))
		if err != nil {
			return err
		}
		looks[bucket] = look
	}
	s, err := c.reach(ctx, looks)
	switch {
	case errors.Is(err, errBehind):
		c.result.Unchecked += batch.len()
		return nil
	case err != nil:
		return err
	}
	defer s.Close(ctx)
	for _, bucket := range slices.Sorted(maps.Keys(looks)) {
		look, rows := looks[bucket], batch.buckets[bucket]
		if !look.Live {
			c.result.Unchecked += len(rows)
			continue
		}
		if err := c.bucket(ctx, s, batch, rows, look); err != nil {
			return err
		}
		if c.Progress != nil {
			c.Progress(len(rows))
		}
	}
	return nil
}

var errBehind = errors.New("history is behind")

// reach opens history once it goes as far as all buckets do.
func (c *comparison) reach(ctx context.Context, looks map[int]*online.Look) (*history.Snapshot, error) {
	most := map[ingest.PartitionID]int64{}
	for _, look := range looks {
		for id, next := range look.Watermarks {
			most[id] = max(most[id], next)
		}
	}
	for deadline := time.Now().Add(c.Wait); ; {
		s, err := history.OpenSnapshot(ctx, c.Pool, c.Catalog.Namespace, c.offsets(most))
		var fault *featurestore.Error
		if !errors.As(err, &fault) || fault.Code != featurestore.Unavailable {
			return s, err
		}
		if time.Now().After(deadline) {
			return nil, errBehind
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// offsets are watermarks as history has them.
func (c *comparison) offsets(marks map[ingest.PartitionID]int64) history.Offsets {
	offsets := history.Offsets{}
	for id, next := range marks {
		offsets = append(offsets, history.Offset{Source: c.source.Name, Topic: id.Topic, Partition: id.Partition, Next: next})
	}
	return offsets
}
