package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/internal/movielens"
)

// run is the whole demo. It stops all that it has started before it returns.
func run(ctx context.Context, o options, out io.Writer, p *progress) (err error) {
	logs, err := os.MkdirTemp("", "onehop-demo-")
	if err != nil {
		return fmt.Errorf("the directory of the logs: %w", err)
	}
	defer func() { err = keepLogs(logs, err) }()
	r := &report{}
	data, err := load(ctx, o, r, p)
	if err != nil {
		return err
	}
	if !o.JSON {
		r.printData(out)
	}
	s, err := startStack(ctx, o, logs, p)
	if err != nil {
		return err
	}
	return errors.Join(show(s, data, o, r, out, p), s.stop()) //nolint:contextcheck // the stack has its own
}

// keepLogs removes the directory of the logs, unless something failed and it may tell
// why.
func keepLogs(logs string, err error) error {
	written, globErr := filepath.Glob(filepath.Join(logs, "*.log"))
	if err == nil || errors.Is(err, context.Canceled) || len(written) == 0 {
		return errors.Join(err, globErr, os.RemoveAll(logs))
	}
	return fmt.Errorf("%w\nThe logs are in %s", err, logs)
}

// show feeds the stack, measures it and prints what was found.
func show(s *stack, data *movielens.Dataset, o options, r *report, out io.Writer, p *progress) error {
	err := s.feed(data, r, p)
	if err == nil {
		err = s.recommend(data, r)
	}
	if err == nil {
		err = s.measureCalls(o.Calls, r, p)
	}
	if err == nil {
		err = s.measureFreshness(r, p)
	}
	if err == nil {
		r.describe(s, o.Keep)
		err = r.print(out, o)
	}
	if err == nil && o.Keep {
		p.line("Everything is running. Ctrl-C stops it.")
		err = s.wait()
	}
	return s.failure(err)
}

func (r *report) print(out io.Writer, o options) error {
	if !o.JSON {
		return r.printText(out)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// load gets MovieLens, or invents ratings where it can't be had. They are moved in
// time so that the newest was given now.
func load(ctx context.Context, o options, r *report, p *progress) (*movielens.Dataset, error) {
	var data *movielens.Dataset
	switch {
	case o.Generated > 0:
		data, r.Data.Why = events.Generated(o.Generated), "--generated"
	default:
		done := p.step("Getting MovieLens 100K")
		var err error
		data, err = movielens.Load(ctx)
		done()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, movielens.ErrUnavailable):
			data, r.Data.Why = events.Generated(100_000), err.Error()
		case err != nil:
			return nil, err
		}
	}
	data.ShiftTo(time.Now())
	r.Data.Name = "MovieLens 100K"
	if r.Data.Why != "" {
		r.Data.Name, r.Data.Generated = "generated ratings", true
	}
	r.Data.Ratings, r.Data.Users, r.Data.Movies = len(data.Ratings), len(data.Users), len(data.Movies)
	r.titles = map[int64]movielens.Movie{}
	for _, m := range data.Movies {
		r.titles[m.ID] = m
	}
	return data, nil
}
