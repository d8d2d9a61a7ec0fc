package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/materialize"
	"github.com/onehop/onehop/featurestore/stream"
)

// materializing writes what is new of a source. When Postgres goes away meanwhile it goes on
// after the rows that were committed, as another run would.
type materializing struct {
	*materializeCommand
	log     io.Writer
	from    *pgxpool.Pool // has the rows
	catalog *featurestore.Catalog
	source  *featurestore.Source
	summary *materializeSummary

	reading, writing func(rows int) // show progress
}

func (m *materializing) all(ctx context.Context) error {
	reading, read := quietProgress(m.log, "rows of files read")
	defer read()
	writing, written := quietProgress(m.log, "rows")
	defer written()
	m.reading, m.writing = reading, writing
	stay := &patience{pool: m.from, log: m.log}
	var other error // which is not Postgres's
	err := stay.try(ctx, func() (lost error) {
		lost, other = m.once(ctx)
		return lost
	})
	if err == nil {
		err = other
	}
	return err
}

// once writes rows up to the end, or until something fails: Postgres, when the first error is not
// nil, or else the second.
func (m *materializing) once(ctx context.Context) (lost, other error) {
	options := []kgo.Opt{kgo.SeedBrokers(m.Kafka.Kafka...), kgo.ClientID("onehop-materialize")}
	reached, writer, err := m.openTopic(ctx, m.source, options)
	if err != nil {
		return nil, err
	}
	span := m.begin(reached)
	before, rows := m.summary.Rows, int64(0)
	var failed error // to write
	read := func() error {
		return materialize.Read(ctx, materialize.Options{Pool: m.from, Dir: m.Files, Progress: m.reading}, m.catalog, m.source, span, func(row stream.Row) error {
			rows, m.summary.Last = rows+1, featurestore.FormatTime(row.Time)
			m.writing(int(before + rows))
			if writer != nil {
				failed = writer.Write(ctx, row)
			}
			return failed
		})
	}
	if writer == nil {
		err = read()
		m.summary.Rows = rows
		return m.blame(err)
	}
	defer writer.Close(ctx)
	err = read()
	if err == nil {
		failed = writer.Commit(ctx)
	}
	m.summary.Rows = before + writer.Committed()
	switch {
	case failed != nil:
		return nil, failed
	case err != nil:
		return m.blame(err)
	}
	return nil, writer.Visible(ctx)
}

// blame says whether an error in reading rows is one of Postgres or of files.
func (m *materializing) blame(err error) (lost, other error) {
	if m.source.Batch.Files != "" {
		return nil, err
	}
	return err, nil
}

// begin is what to read now, and tells it when nothing was read yet.
func (m *materializing) begin(reached stream.Reached) materialize.Span {
	span := m.span(m.source, reached.Time)
	if m.summary.Rows > 0 && !m.DryRun { // --since says where the first rows begin
		span.After = max(span.After, reached.Time)
	}
	again := m.summary.Until != ""
	if span.After > 0 && !again {
		m.summary.After = featurestore.FormatTime(span.After)
	}
	m.summary.Until, m.summary.Last = featurestore.FormatTime(span.Until), timeOrNone(reached.Time)
	if m.Since != "" && !m.DryRun && !again {
		fmt.Fprintf(m.log, "reading again from %s: rows that were written before are written a second time\n", featurestore.FormatTime(span.After+1))
	}
	return span
}
