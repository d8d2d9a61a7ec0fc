package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// registryTimeout bounds the wait for one schema with all that it refers to.
	registryTimeout = 5 * time.Second
	// registryPatience is how long a partition waits for a schema before it is suspended and
	// the others go on; the answer will be there when it tries again.
	registryPatience = 500 * time.Millisecond
	// maxSchemas bounds the schemas that are kept.
	maxSchemas = 1000
	// awayFor is how long a registry that failed is not asked again for the same id: the
	// partitions that need it would wait for it one after the other.
	awayFor = time.Second
	// unknownFor is how long an id that the registry does not know is not asked for again.
	unknownFor = 10 * time.Second
	// maxReferences bounds the schemas that one refers to, directly or not.
	maxReferences = 100
	// maxRegistryReply is the longest answer of the registry that is read, in bytes.
	maxRegistryReply = 4 << 20
)

// Schemas reads schemas from a schema registry with Confluent's API, and keeps them. It
// is safe for concurrent use. Close it when nobody uses it any more.
type Schemas struct {
	client *sr.Client
	http   *http.Client
	now    func() time.Time

	open    context.Context //nolint:containedctx // it ends with the client, not with any one call
	close   context.CancelFunc
	readers sync.WaitGroup // those that ask the registry

	mu    sync.Mutex
	known map[int]*schema
	asked map[int]chan struct{} // closed when the answer is known
}

// schema is a schema that was read, or why it cannot be used.
type schema struct {
	avro  *avro.Schema
	file  protoreflect.FileDescriptor // of a protobuf schema
	err   error                       // the reason for a dead letter, or ErrBlocked
	until time.Time                   // when to ask again; zero for never
}

// NewSchemas makes a client of the registry at a URL; user and password may be empty. It
// connects when first used.
func NewSchemas(url, user, password string) (*Schemas, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: registryTimeout, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute}
	s := &Schemas{http: &http.Client{Timeout: registryTimeout, Transport: boundedReplies{transport}}, now: time.Now, known: map[int]*schema{}, asked: map[int]chan struct{}{}}
	s.open, s.close = context.WithCancel(context.Background())
	options := []sr.ClientOpt{sr.URLs(url), sr.HTTPClient(s.http), sr.UserAgent("onehop")}
	if user != "" {
		options = append(options, sr.BasicAuth(user, password))
	}
	var err error
	if s.client, err = sr.NewClient(options...); err != nil {
		return nil, errors.New("the client of the schema registry: the URL is not valid")
	}
	return s, nil
}

// Close gives up what is being read, waits for that, and closes the connections.
func (s *Schemas) Close() {
	s.close()
	s.readers.Wait()
	s.http.CloseIdleConnections()
}

// get is the schema of an id. Errors are [ErrBlocked]; the schema may hold the reason why
// it cannot be used.
func (s *Schemas) get(ctx context.Context, id int) (*schema, error) {
	if s == nil {
		return nil, fmt.Errorf("%w: they need a schema registry: set --schema-registry (ONEHOP_SCHEMA_REGISTRY)", ErrBlocked)
	}
	found, answered := s.lookUp(id) //nolint:contextcheck // what is read is for all who want it, not for this call
	if found != nil {
		return found.orBlocked()
	}
	patience := time.NewTimer(registryPatience)
	defer patience.Stop()
	select {
	case <-answered:
	case <-patience.C:
		return nil, fmt.Errorf("%w: the schema registry has not answered within %s for schema %d", ErrBlocked, registryPatience, id)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrBlocked, ctx.Err())
	}
	if found, _ = s.lookUp(id); found == nil { //nolint:contextcheck // as above
		return nil, fmt.Errorf("%w: schema %d was read and is gone again", ErrBlocked, id)
	}
	return found.orBlocked()
}

// lookUp is what is known of an id. Where that is nothing, the registry is being asked,
// once for all that want it, and answered is closed when it is known.
func (s *Schemas) lookUp(id int) (found *schema, answered <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.known[id]; found != nil && (found.until.IsZero() || !s.now().After(found.until)) {
		return found, nil
	}
	asked := s.asked[id]
	if asked == nil {
		asked = make(chan struct{})
		s.asked[id] = asked
		s.readers.Go(func() {
			read := s.ask(id)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.keep(id, read)
			delete(s.asked, id)
			close(asked)
		})
	}
	return nil, asked
}

// ask asks the registry, and says what became of it.
func (s *Schemas) ask(id int) *schema {
	ctx, cancel := context.WithTimeout(s.open, registryTimeout)
	defer cancel()
	read, err := s.read(ctx, id)
	switch {
	case isUnknown(err):
		return &schema{err: fmt.Errorf("the schema registry does not know schema %d, or one that it refers to", id), until: s.now().Add(unknownFor)}
	case errors.As(err, new(*unusableError)):
		return &schema{err: fmt.Errorf("schema %d %w", id, err)}
	case err != nil:
		err = fmt.Errorf("%w: reading schema %d from the schema registry: %w", ErrBlocked, id, withStatus(err))
		return &schema{err: err, until: s.now().Add(awayFor)}
	}
	return read
}

// orBlocked tells the error that is none of the record's apart from the others.
func (s *schema) orBlocked() (*schema, error) {
	if errors.Is(s.err, ErrBlocked) {
		return nil, s.err
	}
	return s, nil
}

// keep keeps what is known of an id; the caller holds the lock.
func (s *Schemas) keep(id int, read *schema) {
	if _, there := s.known[id]; !there && len(s.known) >= maxSchemas {
		for other := range s.known { // any one: so many at once are a producer gone wrong
			delete(s.known, other)
			break
		}
	}
	s.known[id] = read
}
