package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/twmb/franz-go/pkg/sr"
)

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
