package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore/history"
	featuretable "github.com/onehop/onehop/featurestore/training/table"
)

// trainer joins chunk by chunk. A chunk that fails because Postgres went away is joined
// again, by the history that all others are joined by.
type trainer struct {
	pinned
	of    string // the spine's name, after a space; empty for a query
	table *featuretable.Table

	report func(rows int)
	views  int
	done   int64 // rows of chunks before
	told   int   // answers of this chunk: each view has one a row
}

// progress is told by the join.
func (t *trainer) progress(answers int) {
	t.told += answers
	t.report(int(t.done) + t.told/max(1, t.views))
}

// all joins a spine.
func (t *trainer) all(ctx context.Context, spine array.RecordReader, write func(arrow.RecordBatch) error, summary *trainingSummary) error {
	defer func() { t.close(ctx) }()
	chunks := t.table.Chunks(spine)
	defer chunks.Release()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		chunk, err := chunks.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the spine%s: %w", t.of, err)
		}
		if err := t.one(ctx, chunk, write, summary); err != nil {
			return err
		}
	}
}

func (t *trainer) one(ctx context.Context, chunk *featuretable.Chunk, write func(arrow.RecordBatch) error, summary *trainingSummary) error {
	defer chunk.Release()
	var joined *featuretable.Joined
	err := t.with(ctx, func(s *history.Snapshot) (err error) {
		t.told = 0
		joined, err = t.table.Join(ctx, s, chunk)
		return err
	})
	if err != nil {
		return err
	}
	if err := joined.Each(write); err != nil {
		return err
	}
	t.done += int64(chunk.Rows)
	summary.add(int64(chunk.Rows), joined.Views)
	return nil
}

// patience waits for a Postgres that went away.
type patience struct {
	pool *pgxpool.Pool
	log  io.Writer
}

const (
	// patienceFor is how long Postgres may be away.
	patienceFor = time.Minute
	// patienceTries bounds how often the same work is begun again: a query may be what takes
	// Postgres down.
	patienceTries = 5
	pingTimeout   = 2 * time.Second
	pingEvery     = 500 * time.Millisecond
)

// try does the work, again when Postgres went away meanwhile and came back.
func (p *patience) try(ctx context.Context, work func() error) error {
	for tries := 1; ; tries++ {
		err := work()
		if err == nil || ctx.Err() != nil || !away(err) {
			return err
		}
		if tries == patienceTries {
			return fmt.Errorf("at the same work Postgres went away %d times: %w", tries, err)
		}
		fmt.Fprintf(p.log, "Postgres went away (%v); waiting for it, up to %s\n", firstLine(err), patienceFor)
		if !p.wait(ctx) {
			return fmt.Errorf("waited %s in vain for Postgres, which went away: %w", patienceFor, err)
		}
		fmt.Fprintln(p.log, "Postgres is back; going on")
	}
}

// wait waits until Postgres answers.
func (p *patience) wait(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, patienceFor)
	defer cancel()
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if p.ping(ctx) == nil {
			return true
		}
	}
}

func (p *patience) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return p.pool.Ping(ctx)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// away says whether an error means that the connection or the server is gone, as opposed to
// the query being wrong.
func away(err error) bool {
	var told *pgconn.PgError
	if errors.As(err, &told) {
		// Connections, shutdowns and starts, too many connections, a transaction ended because
		// it was idle. https://www.postgresql.org/docs/current/errcodes-appendix.html
		const cancelled, idle, many = "57014", "25P03", "53300"
		class := told.Code[:min(2, len(told.Code))]
		return told.Code != cancelled && (class == "08" || class == "57" || told.Code == idle || told.Code == many)
	}
	var file *fs.PathError
	if errors.As(err, &file) { // whose error numbers look like those of a network
		return false
	}
	var connecting *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connecting) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		pgconn.SafeToRetry(err)
}
