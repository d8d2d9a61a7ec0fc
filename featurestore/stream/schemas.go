package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
	"golang.org/x/sync/singleflight"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// registryTimeout bounds the wait for one schema with all that it refers to.
	registryTimeout = 5 * time.Second
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
	flight singleflight.Group

	mu    sync.Mutex
	known map[int]*schema
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
	s := &Schemas{http: &http.Client{Timeout: registryTimeout, Transport: boundedReplies{transport}}, now: time.Now, known: map[int]*schema{}}
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

// Close closes idle connections.
func (s *Schemas) Close() { s.http.CloseIdleConnections() }

// get is the schema of an id. Errors are [ErrBlocked]; the schema may hold the reason why
// it cannot be used.
func (s *Schemas) get(ctx context.Context, id int) (*schema, error) {
	if s == nil {
		return nil, fmt.Errorf("%w: they need a schema registry: set --schema-registry (ONEHOP_SCHEMA_REGISTRY)", ErrBlocked)
	}
	if found := s.lookUp(id); found != nil {
		return found.orBlocked()
	}
	got, err, _ := s.flight.Do(strconv.Itoa(id), func() (any, error) {
		if found := s.lookUp(id); found != nil {
			return found, nil
		}
		outer := ctx
		ctx, cancel := context.WithTimeout(outer, registryTimeout)
		defer cancel()
		read, err := s.read(ctx, id)
		switch {
		case isUnknown(err):
			read = &schema{err: fmt.Errorf("the schema registry does not know schema %d, or one that it refers to", id), until: s.now().Add(unknownFor)}
		case errors.As(err, new(*unusableError)):
			read = &schema{err: fmt.Errorf("schema %d %w", id, err)}
		case err != nil && outer.Err() != nil:
			return nil, fmt.Errorf("%w: %w", ErrBlocked, outer.Err()) // we gave up, not the registry
		case err != nil:
			read = &schema{until: s.now().Add(awayFor), err: fmt.Errorf("%w: reading schema %d from the schema registry: %w", ErrBlocked, id, withStatus(err))}
		}
		s.keep(id, read)
		return read, nil
	})
	if err != nil {
		return nil, err
	}
	found, _ := got.(*schema)
	return found.orBlocked()
}

// orBlocked tells the error that is none of the record's apart from the others.
func (s *schema) orBlocked() (*schema, error) {
	if errors.Is(s.err, ErrBlocked) {
		return nil, s.err
	}
	return s, nil
}

func (s *Schemas) lookUp(id int) *schema {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.known[id]
	if found != nil && !found.until.IsZero() && s.now().After(found.until) {
		return nil
	}
	return found
}

func (s *Schemas) keep(id int, read *schema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.known[id]; !there && len(s.known) >= maxSchemas {
		for other := range s.known { // any one: so many at once are a producer gone wrong
			delete(s.known, other)
			break
		}
	}
	s.known[id] = read
}

// unusableError is why no record with a schema can be decoded, whoever asks and when.
type unusableError struct{ reason string }

func (e *unusableError) Error() string { return e.reason }

func unusable(format string, args ...any) error {
	return &unusableError{reason: fmt.Sprintf(format, args...)}
}

// isUnknown says whether the registry answered that there is no such schema, subject or
// version. Something else that answers 404, as a proxy does, is no registry.
func isUnknown(err error) bool {
	var response *sr.ResponseError
	if !errors.As(err, &response) {
		return false
	}
	code := response.ErrorCode
	return code == sr.ErrSchemaNotFound.Code || code == sr.ErrSubjectNotFound.Code || code == sr.ErrVersionNotFound.Code
}

// withStatus adds the HTTP status to an error that may say nothing else.
func withStatus(err error) error {
	var response *sr.ResponseError
	if errors.As(err, &response) {
		return fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	return err
}

func (s *Schemas) read(ctx context.Context, id int) (*schema, error) {
	written, err := s.client.SchemaByID(ctx, id)
	if err != nil {
		return nil, err
	}
	references, err := s.references(ctx, written.References)
	if err != nil {
		return nil, err
	}
	switch written.Type {
	case sr.TypeAvro:
		parsed, err := parseAvro(written.Schema, references)
		return &schema{avro: parsed}, err
	case sr.TypeProtobuf:
		file, err := compileProtobuf(ctx, written.Schema, references)
		return &schema{file: file}, err
	default:
		return nil, unusable("is a schema of type %s", written.Type)
	}
}

// reference is a schema that another refers to by a name.
type reference struct{ name, text string }

// references reads what a schema refers to, directly or not, each after what it refers to
// itself.
func (s *Schemas) references(ctx context.Context, wanted []sr.SchemaReference) (list []reference, err error) {
	type version struct {
		subject string
		number  int
	}
	seen := map[version]bool{}
	var visit func(wanted []sr.SchemaReference) error
	visit = func(wanted []sr.SchemaReference) error {
		for _, w := range wanted {
			if v := (version{w.Subject, w.Version}); seen[v] {
				continue
			} else if seen[v] = true; len(seen) > maxReferences {
				return unusable("refers to more than %d others", maxReferences)
			}
			found, err := s.client.SchemaByVersion(ctx, w.Subject, w.Version)
			if err != nil {
				return err
			}
			if err := visit(found.References); err != nil {
				return err
			}
			list = append(list, reference{w.Name, found.Schema.Schema})
		}
		return nil
	}
	return list, visit(wanted)
}

// boundedReplies bounds the length of replies.
type boundedReplies struct{ http.RoundTripper }

func (b boundedReplies) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxRegistryReply)
	}
	return response, err
}

// CloseIdleConnections lets the client close what it keeps.
func (b boundedReplies) CloseIdleConnections() {
	if t, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
