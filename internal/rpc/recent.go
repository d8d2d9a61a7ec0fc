package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/onehop/onehop/inference"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// Bounds of the requests that are kept to try new versions on.
const (
	keptRequests = 8
	keptBytes    = 64 << 10 // each
	keepEvery    = time.Second
	// saveEvery is how often what is kept goes to Redis, keptFor how long it stays there, and savedWait how long Redis may take.
	saveEvery, keptFor, savedWait = 5 * time.Second, 7 * 24 * time.Hour, time.Second
	// askAgain is how long Redis is not asked again when it did not answer.
	askAgain = 10 * time.Second
)

// Recent keeps a few requests of each model that were answered lately, and which version answered them. Redis has them too, so that a service
// that starts tries the versions that it finds on them: one that was refused would come into service by the next restart else. There are
// as many models as the repository has. It is safe for concurrent use.
type Recent struct {
	client redis.UniversalClient
	prefix string
	log    *slog.Logger
	models sync.Map     // of *requests by name
	asked  atomic.Int64 // when Redis did not answer last, in nanoseconds
}

// NewRecent keeps requests under a namespace. The client stays the caller's.
func NewRecent(client redis.UniversalClient, namespace string, log *slog.Logger) *Recent {
	return &Recent{client: client, prefix: namespace + ":recent:", log: log}
}

type requests struct {
	next atomic.Int64 // when to keep the next one, in nanoseconds

	mu      sync.Mutex
	kept    []answered // a ring
	at      int
	unsaved bool
	asked   bool // Redis was, and answered
}

// answered is a request that was answered, and the digest of the version that did.
type answered struct {
	request *onehopv1.GetFeaturesAndPredictRequest
	by      string
}

// saved is answered as Redis has it.
type saved struct {
	By      string `json:"by"`
	Request []byte `json:"request"`
}

func digestOf(m *inference.Model) string { return m.SHA256 + m.SpecSHA256 }

func (r *Recent) list(model string) *requests {
	found, ok := r.models.Load(model)
	if !ok {
		found, _ = r.models.LoadOrStore(model, &requests{})
	}
	return found.(*requests)
}

// keep keeps a request, one a second.
func (r *Recent) keep(m *inference.Model, req *onehopv1.GetFeaturesAndPredictRequest, now time.Time) {
	list := r.list(m.Name)
	next := list.next.Load()
	if now.UnixNano() < next || !list.next.CompareAndSwap(next, now.Add(keepEvery).UnixNano()) || proto.Size(req) > keptBytes {
		return
	}
	list.mu.Lock()
	defer list.mu.Unlock()
	list.unsaved = true
	a := answered{req, digestOf(m)}
	if len(list.kept) < keptRequests {
		list.kept = append(list.kept, a)
		return
	}
	list.kept[list.at] = a
	list.at = (list.at + 1) % keptRequests
}

// of is what is kept of a model, here or, when there is nothing, in Redis.
func (r *Recent) of(ctx context.Context, model string) []answered {
	list := r.list(model)
	if kept, known := list.known(); known {
		return kept
	}
	now := time.Now().UnixNano()
	if now < r.asked.Load()+int64(askAgain) {
		return nil
	}
	kept, err := r.load(ctx, model)
	if err != nil {
		r.asked.Store(now)
		r.log.Warn("the requests that were answered lately cannot be read: new versions are not tried on them", "model", model, "error", err)
		return nil
	}
	list.mu.Lock()
	defer list.mu.Unlock()
	list.asked = true
	if len(list.kept) == 0 {
		list.kept = kept
	}
	return slices.Clone(list.kept)
}

// known is what is kept here, and whether Redis need not be asked.
func (q *requests) known() (kept []answered, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.kept), q.asked || len(q.kept) > 0
}

// load reads what Redis has of a model.
func (r *Recent) load(ctx context.Context, model string) ([]answered, error) {
	ctx, cancel := context.WithTimeout(ctx, savedWait)
	defer cancel()
	text, err := r.client.Get(ctx, r.prefix+model).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s%s: %w", r.prefix, model, err)
	}
	var list []saved
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s%s is damaged: %w", r.prefix, model, err)
	}
	var kept []answered
	for _, s := range list[:min(len(list), keptRequests)] {
		a := answered{&onehopv1.GetFeaturesAndPredictRequest{}, s.By}
		if err := proto.Unmarshal(s.Request, a.request); err != nil {
			return nil, fmt.Errorf("%s%s is damaged: %w", r.prefix, model, err)
		}
		kept = append(kept, a)
	}
	return kept, nil
}

// Run writes what is new to Redis, until the context ends, and then once more.
func (r *Recent) Run(ctx context.Context) error {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.save(ctx)
		case <-ctx.Done():
			r.save(context.WithoutCancel(ctx))
			return nil
		}
	}
}

// save writes what is new. What cannot be written is tried again with what comes next.
func (r *Recent) save(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, savedWait)
	defer cancel()
	r.models.Range(func(model, list any) bool {
		text := list.(*requests).news()
		if text == nil {
			return true
		}
		if err := r.client.Set(ctx, r.prefix+model.(string), text, keptFor).Err(); err != nil {
			r.log.Debug("requests that were answered lately could not be saved", "model", model, "error", err)
			return false
		}
		return true
	})
}

// news is what is kept, as Redis has it, nil when that was saved.
func (q *requests) news() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.unsaved {
		return nil
	}
	q.unsaved = false
	list := make([]saved, 0, len(q.kept))
	for _, a := range q.kept {
		if text, err := proto.Marshal(a.request); err == nil { // it came by the wire
			list = append(list, saved{a.by, text})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil
	}
	return text
}
