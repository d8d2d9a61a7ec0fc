package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/served"
	"github.com/onehop/onehop/featurestore/training/files"
	featuretable "github.com/onehop/onehop/featurestore/training/table"
)

// checkLog says what is wrong with the flags of --from-log.
func (c *trainingSetCommand) checkLog() error {
	switch {
	case c.FromLog == "" && (c.Scores || !c.Since.IsZero() || !c.Until.IsZero()):
		return errors.New("--since, --until and --scores are for --from-log")
	case c.FromLog != "" && (c.Spine != "" || c.SQL != "" || len(c.Features) > 0 || c.Service != ""):
		return errors.New("--from-log has rows and features of its own: leave --spine, --sql, --features and --service out")
	case c.FromLog != "" && (c.Available || c.EventTimes):
		return errors.New("--from-log gives what was served: leave --available and --event-times out")
	}
	return nil
}

// loggedSummary says what was done.
type loggedSummary struct {
	Namespace string  `json:"namespace"`
	Kind      string  `json:"kind"`
	Name      string  `json:"name"`
	Rows      int64   `json:"rows"`
	Seconds   float64 `json:"seconds"`
}

// fromLog makes a training set of what was served.
func (c *trainingSetCommand) fromLog(ctx context.Context, s Streams) error {
	began := time.Now()
	pool, catalog, err := c.definitions(ctx, c.Namespace)
	if err != nil {
		return err
	}
	defer pool.Close()
	kind, name, err := featuretable.FindLogged(catalog, c.FromLog)
	if err != nil {
		return fmt.Errorf("--from-log: %w", err)
	}
	logged, err := featuretable.NewLogged(catalog, kind, name, featuretable.LoggedOptions{Statuses: c.Statuses, Scores: c.Scores})
	if err != nil {
		return fmt.Errorf("--from-log: %w", err)
	}
	defer logged.Release()
	out, err := files.Create(c.Out, s.Out, logged.Schema())
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer out.Abort()
	snapshot, err := history.OpenSnapshot(ctx, pool, c.Namespace, nil)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	summary := loggedSummary{Namespace: c.Namespace, Kind: kind, Name: name}
	if summary.Rows, err = c.copyLog(ctx, snapshot, logged, out); err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return err
	}
	summary.Seconds = time.Since(began).Seconds()
	if c.JSON {
		return writeJSON(s.Out, summary)
	}
	fmt.Fprintf(s.Err, "%d vectors that %s %s of namespace %s gave, in %.1f s\n", summary.Rows, kind, name, c.Namespace, summary.Seconds)
	return nil
}

// copyLog writes the vectors, and returns how many there were.
func (c *trainingSetCommand) copyLog(ctx context.Context, s *history.Snapshot, logged *featuretable.Logged, out *files.Writer) (rows int64, err error) {
	write := func() error {
		batch := logged.Batch()
		defer batch.Release()
		return out.Write(batch)
	}
	from, to := logTimes(c.Since, c.Until)
	source := served.Source(c.Namespace, 0)
	err = s.Scan(ctx, &source, from, to, func(_ featurestore.TopicID, e *featurestore.Event) error {
		r, err := served.Decode(e)
		if err != nil {
			return err
		}
		added, full, err := logged.Add(r)
		if added {
			rows++
		}
		if err != nil || !full {
			return err
		}
		return write()
	})
	if err != nil {
		return 0, err
	}
	return rows, write()
}
