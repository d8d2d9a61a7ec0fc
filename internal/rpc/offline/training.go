// Package offline answers the RPCs of history: training sets and statistics. It stands apart so that what answers online alone brings
// no Arrow.
package offline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"connectrpc.com/connect"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/training"
	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/featurestore/training/query"
	"github.com/onehop/onehop/featurestore/training/table"
	"github.com/onehop/onehop/internal/rpc"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const (
	// trainingBudget is the memory that the answers of a chunk may take, for each of the
	// training sets that are made at a time.
	trainingBudget = 64 << 20
	// maxTrainingSets are made at a time: each keeps a connection and most of a core of
	// Postgres busy.
	maxTrainingSets = 2
	// maxPiece is the most bytes of Arrow in a message: clients take 4 MiB, unless they say
	// otherwise.
	maxPiece = 1 << 20
	// maxSpine bounds the request of a training set.
	maxSpine = 64<<20 + 2<<20
)

// Features answers FeatureService: from history what is asked of it, and from Redis the rest.
type Features struct {
	*rpc.Features

	pool    *pgxpool.Pool
	sql     bool
	running chan struct{}
}

// New answers from the history that a pool leads to; nobody else waits for the pool's connections. sql allows spines that are
// queries: whoever may call the service may then read all of the database that its user may.
func New(online *rpc.Features, pool *pgxpool.Pool, sql bool) *Features {
	return &Features{Features: online, pool: pool, sql: sql, running: make(chan struct{}, maxTrainingSets)}
}

// SpineOption lets the requests of training sets be larger than others.
func SpineOption() connect.HandlerOption {
	return connect.WithConditionalHandlerOptions(func(spec connect.Spec) []connect.HandlerOption {
		if spec.StreamType != connect.StreamTypeServer {
			return nil
		}
		return []connect.HandlerOption{connect.WithReadMaxBytes(maxSpine)}
	})
}

// GetTrainingSet joins features to a spine.
func (f *Features) GetTrainingSet(ctx context.Context, req *onehopv1.GetTrainingSetRequest, stream *connect.ServerStream[onehopv1.GetTrainingSetResponse]) error {
	select {
	case f.running <- struct{}{}:
		defer func() { <-f.running }()
	default:
		return featurestore.Errorf(featurestore.Exhausted, "%d training sets are being made; try again later", maxTrainingSets)
	}
	definitions, err := f.Definitions.Get()
	if err != nil {
		return err
	}
	p, err := f.Plan(definitions, req.GetFeatureService(), req.GetFeatures())
	if err != nil {
		return err
	}
	at, err := parseToken(req.GetHistoryToken())
	if err != nil {
		return err
	}
	spine, err := f.spine(ctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = spine.Close() }() // it was only read
	t, err := table.New(definitions.Join(p.Plan), spine.Schema(), table.Options{
		TimeColumn: req.GetTimeColumn(), Available: req.GetAvailable(), Statuses: req.GetStatuses(), EventTimes: req.GetEventTimes(),
		Skip: int64(req.GetSkipRows()), Budget: trainingBudget,
	})
	if err != nil {
		return err
	}
	snapshot, err := history.OpenSnapshot(ctx, f.pool, definitions.Catalog.Namespace, at)
	if err != nil {
		return unavailable(err)
	}
	defer snapshot.Close(ctx)
	s := &trainingStream{stream: stream, rows: req.GetSkipRows(), first: &onehopv1.GetTrainingSetResponse{
		HistoryToken: token(snapshot.Offsets()), DefinitionsVersion: int64(definitions.Catalog.Version),
	}}
	return s.send(ctx, t, snapshot, spine)
}

// spine opens the spine of a request.
func (f *Features) spine(ctx context.Context, req *onehopv1.GetTrainingSetRequest) (*files.Reader, error) {
	if req.GetSql() == "" {
		r, err := files.Stream("the spine", bytes.NewReader(req.GetArrow()))
		if err != nil {
			return nil, featurestore.Errorf(featurestore.Invalid, "%v", err)
		}
		return r, nil
	}
	if !f.sql {
		return nil, featurestore.Errorf(featurestore.Invalid, "this service takes no spine as a query; start it with --sql-spines, or send the rows")
	}
	rows, err := query.Open(ctx, f.pool, req.GetSql())
	if err != nil {
		return nil, notAnswered(err)
	}
	defer rows.Close(ctx)
	r, err := files.Spool(rows, func(int) {})
	return r, notAnswered(err)
}

// notAnswered says why there are no rows of a query: what Postgres says of it, or that it
// does not answer.
func notAnswered(err error) error {
	var said *pgconn.PgError
	var lost *pgconn.ConnectError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &lost), errors.As(err, &said) && slices.Contains([]string{"08", "57"}, said.Code[:2]): // Postgres's classes of connections and operators
		return unavailable(err)
	default:
		return featurestore.Errorf(featurestore.Invalid, "the spine: %v", err)
	}
}

// unavailable says that Postgres does not answer, where the error does not say better.
func unavailable(err error) error {
	var known *featurestore.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return featurestore.Errorf(featurestore.Unavailable, "history does not answer; try again with the history token and the rows of the last answer").Because(err)
}

// token is what the offsets of history are to callers.
func token(offsets history.Offsets) []byte {
	text, _ := json.Marshal(offsets) // strings and numbers
	return text
}

func parseToken(text []byte) (history.Offsets, error) {
	if len(text) == 0 {
		return nil, nil
	}
	offsets := history.Offsets{}
	if err := json.Unmarshal(text, &offsets); err != nil {
		return nil, featurestore.Errorf(featurestore.Invalid, "history_token is not what an answer said")
	}
	if offsets == nil { // of no history, which is not: as it is now
		offsets = history.Offsets{}
	}
	return offsets, nil
}

// trainingStream sends a training set.
type trainingStream struct {
	stream *connect.ServerStream[onehopv1.GetTrainingSetResponse]
	first  *onehopv1.GetTrainingSetResponse // until it is sent
	buffer bytes.Buffer
	rows   uint64 // sent, all of them
	next   uint64 // rows when the buffer is sent
	views  []*onehopv1.ViewJoin
}

func (s *trainingStream) send(ctx context.Context, t *table.Table, snapshot *history.Snapshot, spine *files.Reader) error {
	w := ipc.NewWriter(&s.buffer, ipc.WithSchema(t.Schema()))
	err := t.All(ctx, snapshot, spine, func(batch arrow.RecordBatch) error {
		if err := w.Write(batch); err != nil {
			return err
		}
		s.next = s.rows + uint64(batch.NumRows())
		return s.flush()
	}, func(c table.Chunked) error {
		s.add(c.Views)
		return nil
	})
	if err != nil && spine.Err() != nil {
		return featurestore.Errorf(featurestore.Invalid, "%v", spine.Err())
	}
	if err != nil {
		return unavailable(err)
	}
	if err := w.Close(); err != nil {
		return err
	}
	return s.last()
}

// flush sends what was written, in pieces of which only the last says that the rows are
// there.
func (s *trainingStream) flush() error {
	for s.buffer.Len() > 0 {
		m := s.message()
		m.Arrow = bytes.Clone(s.buffer.Next(maxPiece))
		if s.buffer.Len() == 0 {
			s.rows = s.next
		}
		m.Rows = s.rows
		if err := s.stream.Send(m); err != nil {
			return err
		}
	}
	s.buffer.Reset()
	return nil
}

func (s *trainingStream) last() error {
	m := s.message()
	m.Arrow, m.Rows, m.Views = s.buffer.Bytes(), s.rows, s.views
	return s.stream.Send(m)
}

// message is the next message: the first says what it is about.
func (s *trainingStream) message() *onehopv1.GetTrainingSetResponse {
	m := &onehopv1.GetTrainingSetResponse{}
	if s.first != nil {
		m, s.first = s.first, nil
	}
	return m
}

// add adds up how views were joined, chunk after chunk.
func (s *trainingStream) add(views []training.Report) {
	if s.views == nil {
		for _, v := range views {
			s.views = append(s.views, &onehopv1.ViewJoin{View: v.View})
		}
	}
	for i, v := range views {
		s.views[i].Way = v.Way
		s.views[i].Events += v.Events
	}
}
