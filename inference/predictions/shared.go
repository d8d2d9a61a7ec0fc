package predictions

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

const (
	// sharedWait is how long Redis may take to answer: a look must cost less than what it saves.
	sharedWait = 20 * time.Millisecond
	// writeWait is how long it may take to store what waits.
	writeWait = time.Second
	// maxShared is the most bytes of an entry in Redis, with its key, and writesWaiting how many may wait to be stored.
	maxShared, writesWaiting = 64 << 10, 1024
	// writesAtOnce is how many are stored by one round trip.
	writesAtOnce = 64
	// pause is how long Redis is not asked when it did not answer.
	pause = time.Second
)

// Shared keeps answers in Redis for all instances of a service. Redis that does not answer, or is full, is a cache that has nothing. It is safe
// for concurrent use.
type Shared struct {
	client redis.UniversalClient
	prefix string
	writes chan write
	stop   context.CancelFunc
	done   chan struct{}
	total  *prometheus.CounterVec

	mu     sync.Mutex
	paused time.Time // until when Redis is not asked
}

type write struct {
	key   string
	entry []byte
	until time.Time
}

// StartShared keeps answers under a namespace until Close. The client stays the caller's.
func StartShared(ctx context.Context, client redis.UniversalClient, namespace string, registry prometheus.Registerer, log *slog.Logger) *Shared {
	s := &Shared{
		client: client, prefix: namespace + ":prediction:", writes: make(chan write, writesWaiting), done: make(chan struct{}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_prediction_cache_shared_total", Help: "Answers looked up in and written to Redis by outcome: hit, miss, failed, written, or dropped where too many wait or too much is kept.",
		}, []string{"outcome"}),
	}
	registry.MustRegister(s.total)
	ctx, s.stop = context.WithCancel(ctx)
	go func() {
		defer close(s.done)
		s.write(ctx, log)
	}()
	return s
}

// Close ends the writing; what waits is dropped. It is called when nothing is asked any more.
func (s *Shared) Close() {
	s.stop()
	<-s.done
}

// write stores what waits until the context ends.
func (s *Shared) write(ctx context.Context, log *slog.Logger) {
	var batch []write
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-s.writes:
			batch = append(batch[:0], w)
		}
		for len(batch) < writesAtOnce && len(s.writes) > 0 {
			batch = append(batch, <-s.writes)
		}
		if err := s.store(ctx, batch); err != nil && ctx.Err() == nil {
			if redis.IsOOMError(err) { // what it has it gives
				s.total.WithLabelValues("failed").Inc()
			} else {
				s.fail()
			}
			log.Debug("answers could not be shared", "error", err)
			continue
		}
		s.total.WithLabelValues("written").Add(float64(len(batch)))
	}
}

func (s *Shared) store(ctx context.Context, batch []write) error {
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	pipe := s.client.Pipeline()
	for _, w := range batch {
		if left := time.Until(w.until); left >= time.Millisecond {
			pipe.Set(ctx, w.key, w.entry, left)
		}
	}
	_, err := pipe.Exec(ctx)
	return err
}

// fail notes that Redis did not answer.
func (s *Shared) fail() {
	s.total.WithLabelValues("failed").Inc()
	s.mu.Lock()
	s.paused = time.Now().Add(pause)
	s.mu.Unlock()
}

func (s *Shared) isPaused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.paused)
}

// sharedAnswers are the answers of one version in Redis. The nil pointer has none and keeps none.
type sharedAnswers struct {
	*Shared
	of    []byte // of the version, before all keys
	stem  string
	most  int64 // bytes that are written within a TTL
	ttl   time.Duration
	since time.Time // guarded by mu, from when bytes are counted
	bytes int64
}

func (s *Shared) of(of Of, k Kind) *sharedAnswers {
	return &sharedAnswers{
		Shared: s, of: appendOf(nil, of), stem: s.prefix + of.Model + "/" + strconv.Itoa(of.Version) + "/", most: int64(k.bytes()), ttl: k.TTL,
	}
}

// names are the name of an entry in Redis, and the whole key that the entry has to have.
func (s *sharedAnswers) names(key []byte) (name string, whole []byte) {
	whole = append(append([]byte(nil), s.of...), key...)
	sum := sha256.Sum256(whole)
	return s.stem + base64.RawURLEncoding.EncodeToString(sum[:]), whole
}

// get looks for an answer; nil when there is none or Redis does not say so in time.
func (s *sharedAnswers) get(ctx context.Context, key []byte, now time.Time) *answer {
	if s == nil || s.isPaused() {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, sharedWait)
	defer cancel()
	name, whole := s.names(key)
	pipe := s.client.Pipeline()
	entry, left := pipe.Get(within, name), pipe.PTTL(within, name)
	if _, err := pipe.Exec(within); err != nil && !errors.Is(err, redis.Nil) {
		if ctx.Err() == nil {
			s.fail()
		}
		return nil
	}
	found, _ := entry.Bytes()
	value, ok := keyed(found, whole)
	if !ok || left.Val() <= 0 {
		s.total.WithLabelValues("miss").Inc()
		return nil
	}
	s.total.WithLabelValues("hit").Inc()
	return &answer{value: value, until: now.Add(min(left.Val(), s.ttl))}
}

// put has an answer stored, if it is not too large and not too many wait. It does not wait.
func (s *sharedAnswers) put(key []byte, a *answer) {
	if s == nil {
		return
	}
	name, whole := s.names(key)
	w := write{key: name, entry: appendKeyed(nil, whole, a.value), until: a.until}
	if len(w.entry) > maxShared || !s.room(int64(len(w.entry))) {
		s.total.WithLabelValues("dropped").Inc()
		return
	}
	select {
	case s.writes <- w:
	default:
		s.total.WithLabelValues("dropped").Inc()
	}
}

// room says whether so much more may be written: Redis evicts nothing, and what is written within a TTL is there at once.
func (s *sharedAnswers) room(bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.since) >= s.ttl {
		s.since, s.bytes = now, 0
	}
	s.bytes += bytes
	return s.bytes <= s.most
}
