package rpc

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// seldomEvery is how often one kind of failure is logged, and mostKinds how many kinds are known at a time.
const seldomEvery, mostKinds = time.Second, 256

// seldom logs failures of which a store or a model's server is the cause: the first of each kind, and from then on at most one in
// seldomEvery, which says how many others there were. Where Redis is away every request fails, and a line for each would fill the disk. Its zero
// value is ready. It is safe for concurrent use.
type seldom struct {
	mu    sync.Mutex
	kinds map[failure]*failures
}

// failure is a kind of failure.
type failure struct {
	procedure, message string
	code               featurestore.Code
}

type failures struct {
	logged time.Time // when it was logged last
	others int       // since
}

// failed takes a failure.
func (s *seldom) failed(ctx context.Context, log *slog.Logger, procedure string, known *featurestore.Error, err error) {
	if others, due := s.due(failure{procedure, known.Message, known.Code}, time.Now()); due {
		log.WarnContext(ctx, "a request failed", "procedure", procedure, "error", err, "others_since_last_line", others)
	}
}

// due says whether a failure is to be logged, and how many like it were not.
func (s *seldom) due(kind failure, now time.Time) (others int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kinds) >= mostKinds || s.kinds == nil {
		s.kinds = map[failure]*failures{}
	}
	f := s.kinds[kind]
	if f == nil {
		f = &failures{}
		s.kinds[kind] = f
	}
	if now.Sub(f.logged) < seldomEvery {
		f.others++
		return 0, false
	}
	others = f.others
	*f = failures{logged: now}
	return others, true
}
