package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
)

// Imported is what came of a file.
type Imported struct {
	Name string
	// Events is how many the file has, Before how many of them history had before.
	Events, Before int64
	// Took is 0 for a file that was there already, which was not read again.
	Took time.Duration
}

// mistakeError is what is wrong with a file, as opposed to Postgres.
type mistakeError struct{ error }

// Unwrap is for errors.Is and errors.As.
func (m mistakeError) Unwrap() error { return m.error }

// Import copies the events of files to the table of their source, as those of the partition
// [history.ImportPartition] of a topic for each file: a row's number is its offset. All files
// are one transaction. A row that is not good ends it: then what is wrong with the other files
// is found too. progress, if not nil, is told how many rows of a file are copied.
func Import(ctx context.Context, namespace string, table *history.Table, files []*File, progress func(f *File, rows int)) ([]Imported, error) {
	var all []Imported
	at := 0
	err := table.Import(ctx, func(tx *history.Import) error {
		for at = range files {
			done, err := files[at].copy(ctx, tx, table, namespace, func(rows int) {
				if progress != nil {
					progress(files[at], rows)
				}
			})
			if err != nil {
				return err
			}
			all = append(all, done)
		}
		return nil
	})
	if errors.As(err, &mistakeError{}) {
		for _, f := range files[at+1:] {
			_, another := f.Check(ctx, nil)
			err = errors.Join(err, another)
		}
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Rows are copied so many at a time, or fewer if they have so many bytes. So many such
// lots are in memory: one is made while another is copied.
const (
	copyRows  = 50_000
	copyBytes = 8 << 20
	copyLots  = 3
)

// copy copies the file after what is there already.
func (f *File) copy(ctx context.Context, tx *history.Import, table *history.Table, namespace string, progress func(rows int)) (Imported, error) {
	began := time.Now()
	topic := f.Topic(namespace)
	before, whole, err := tx.Open(ctx, topic)
	done := Imported{Name: f.Name, Events: before, Before: before}
	if err != nil {
		return done, fmt.Errorf("importing %s: %w", f.Name, err)
	}
	if whole {
		return done, nil
	}
	free, full := make(chan *history.Rows, copyLots), make(chan *history.Rows)
	for range copyLots {
		free <- table.NewRows(topic)
	}
	group, both := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		defer close(full)
		done.Events, err = f.pack(both, before, free, full)
		return err
	})
	group.Go(func() error {
		for rows := range full {
			if err := tx.Copy(both, rows); err != nil {
				return fmt.Errorf("importing %s: %w", f.Name, err)
			}
			before += int64(rows.Len())
			progress(int(before))
			rows.Reset()
			free <- rows // there is room for all
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return done, err
	}
	if err := tx.Close(ctx, topic, done.Events); err != nil {
		return done, fmt.Errorf("importing %s: %w", f.Name, err)
	}
	done.Took = time.Since(began)
	return done, f.same()
}

// pack makes lots of the events after those that are there.
func (f *File) pack(ctx context.Context, before int64, free <-chan *history.Rows, full chan<- *history.Rows) (events int64, err error) {
	rows := <-free
	send := func() error {
		select {
		case full <- rows:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case rows = <-free:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	events, err = f.each(ctx, func(e *featurestore.Event) error {
		if e.Offset < before {
			return nil
		}
		if rows.Add(e); rows.Len() < copyRows && rows.Bytes() < copyBytes {
			return nil
		}
		return send()
	})
	switch {
	case err != nil && ctx.Err() == nil:
		return events, mistakeError{err}
	case err != nil || rows.Len() == 0:
		return events, err
	}
	return events, send()
}
