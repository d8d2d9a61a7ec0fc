package rpc

import (
	"bytes"
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

// Recent keeps a few requests of each model that were answered lately. Redis has them too, with the versions that were in service, so that a
// service that starts tries the others that it finds on them: one that was refused would come into service by the next restart else. There are
// as many models as the repository has. It is safe for concurrent use.
type Recent struct {
	client redis.UniversalClient
	prefix string
	log    *slog.Logger
	models sync.Map // of *requests by name
	silent atomic.Pointer[silence]
}

// NewRecent keeps requests under a namespace. The client stays the caller's.
func NewRecent(client redis.UniversalClient, namespace string, log *slog.Logger) *Recent {
	return &Recent{client: client, prefix: namespace + ":recent:", log: log}
}

// silence is when Redis did not answer last, and why.
type silence struct {
	at     time.Time
	reason error
}

type requests struct {
	next atomic.Int64 // when to keep the next one, in nanoseconds

	mu     sync.Mutex
	kept   []*onehopv1.GetFeaturesAndPredictRequest // a ring
	at     int
	served []string // digests of the versions that Redis says were in service
	asked  bool     // Redis was, and told
	saved  []byte   // what it was told last
}

// saved is what Redis has of a model.
type saved struct {
	Served   []string `json:"served"`
	Requests [][]byte `json:"requests"`
}

// digestOf tells versions apart that have the same number.
func digestOf(m *inference.Model) string { return m.SHA256 + m.SpecSHA256 }

func (r *Recent) list(model string) *requests {
	found, ok := r.models.Load(model)
	if !ok {
		found, _ = r.models.LoadOrStore(model, &requests{})
	}
	return found.(*requests)
}

// keep keeps a request, one a second.
func (r *Recent) keep(req *onehopv1.GetFeaturesAndPredictRequest, now time.Time) {
	list := r.list(req.GetModel())
	next := list.next.Load()
	if now.UnixNano() < next || !list.next.CompareAndSwap(next, now.Add(keepEvery).UnixNano()) || proto.Size(req) > keptBytes {
		return
	}
	list.mu.Lock()
	defer list.mu.Unlock()
	if len(list.kept) < keptRequests {
		list.kept = append(list.kept, req)
		return
	}
	list.kept[list.at] = req
	list.at = (list.at + 1) % keptRequests
}

// of is what is kept of a model, here or, when there is nothing, in Redis, and the digests of the versions that were in service before this one
// started. The error says that Redis did not tell. What it has and cannot be used is nothing, and will be overwritten.
func (r *Recent) of(ctx context.Context, model string) (kept []*onehopv1.GetFeaturesAndPredictRequest, served []string, err error) {
	list := r.list(model)
	if !list.known() {
		err = r.ask(ctx, model, list)
	}
	list.mu.Lock()
	defer list.mu.Unlock()
	return slices.Clone(list.kept), list.served, err
}

// ask asks Redis, unless it did not answer just before.
func (r *Recent) ask(ctx context.Context, model string, list *requests) error {
	if before := r.silent.Load(); before != nil && time.Since(before.at) < askAgain {
		return before.reason
	}
	err := r.load(ctx, model, list)
	switch {
	case err == nil:
	case errors.Is(err, errUnusable):
		r.log.Warn("the requests that were answered lately cannot be used: new versions are not tried on them", "model", model, "error", err)
		return nil
	default:
		r.silent.Store(&silence{time.Now(), err})
	}
	return err
}

// known says whether Redis need not be asked.
func (q *requests) known() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.asked || len(q.kept) > 0
}

// errUnusable is wrapped by errors about what Redis has of a model, which another try would not read either.
var errUnusable = errors.New("it is damaged, or no place for this")

// load reads what Redis has of a model, once.
func (r *Recent) load(ctx context.Context, model string, list *requests) error {
	ctx, cancel := context.WithTimeout(ctx, savedWait)
	defer cancel()
	key := r.prefix + model
	text, err := r.client.Get(ctx, key).Bytes()
	var there saved
	var kept []*onehopv1.GetFeaturesAndPredictRequest
	switch {
	case errors.Is(err, redis.Nil):
		err = nil
	case redis.HasErrorPrefix(err, "WRONGTYPE") || redis.IsPermissionError(err):
		err = fmt.Errorf("%w: reading %s: %w", errUnusable, key, err)
	case err != nil:
		return fmt.Errorf("reading %s: %w", key, err)
	default:
		if there, kept, err = parseSaved(text); err != nil {
			err = fmt.Errorf("%w: %s: %w", errUnusable, key, err)
		}
	}
	list.mu.Lock()
	defer list.mu.Unlock()
	list.asked, list.served = true, there.Served
	if len(list.kept) == 0 {
		list.kept = kept
	}
	return err
}

func parseSaved(text []byte) (there saved, kept []*onehopv1.GetFeaturesAndPredictRequest, err error) {
	if len(text) == 0 {
		return there, nil, nil
	}
	if err := json.Unmarshal(text, &there); err != nil {
		return saved{}, nil, err
	}
	for _, text := range there.Requests[:min(len(there.Requests), keptRequests)] {
		req := &onehopv1.GetFeaturesAndPredictRequest{}
		if err := proto.Unmarshal(text, req); err != nil {
			return saved{}, nil, err
		}
		kept = append(kept, req)
	}
	return there, kept, nil
}

// run writes what is new to Redis, with the digests of the versions of a model that are in service, until the context ends, and then once more.
func (r *Recent) run(ctx context.Context, served func(model string) []string) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.save(ctx, served)
		case <-ctx.Done():
			r.save(context.WithoutCancel(ctx), served)
			return
		}
	}
}

// save writes what is new. What cannot be written is tried again.
func (r *Recent) save(ctx context.Context, served func(model string) []string) {
	ctx, cancel := context.WithTimeout(ctx, savedWait)
	defer cancel()
	r.models.Range(func(model, list any) bool {
		name, q := model.(string), list.(*requests)
		text, err := q.news(served(name))
		if err == nil && text != nil {
			err = r.client.Set(ctx, r.prefix+name, text, keptFor).Err()
		}
		if err != nil {
			r.log.Debug("requests that were answered lately could not be saved", "model", name, "error", err)
			return ctx.Err() == nil
		}
		q.told(text)
		return true
	})
}

// news is what is kept, as Redis has it; nil when that is known there, or nothing is kept.
func (q *requests) news(served []string) ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.kept) == 0 {
		return nil, nil
	}
	there := saved{Served: served}
	for _, req := range q.kept {
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
		if err != nil {
			return nil, err
		}
		there.Requests = append(there.Requests, text)
	}
	text, err := json.Marshal(there)
	if bytes.Equal(text, q.saved) {
		return nil, err
	}
	return text, err
}

// told notes what Redis was told, if anything.
func (q *requests) told(text []byte) {
	if text != nil {
		q.mu.Lock()
		q.saved = text
		q.mu.Unlock()
	}
}
