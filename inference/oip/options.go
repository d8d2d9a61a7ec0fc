package oip

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"os"
	"time"
)

// Bounds and defaults of [Options].
const (
	// MaxEndpoints is the most replicas of a model.
	MaxEndpoints = 16
	// MaxConnections is the most connections to a replica.
	MaxConnections = 16
	// DefaultTimeout bounds one attempt of a call.
	DefaultTimeout = 2 * time.Second
	// MaxTimeout is the longest that an attempt may take.
	MaxTimeout = time.Minute
	// RunsPerEndpoint is how many runs may be under way at each replica where the batching says nothing.
	RunsPerEndpoint = 4
)

// Options say where a model lives.
type Options struct {
	// Endpoints are its replicas, host:port: at least one, at most [MaxEndpoints].
	Endpoints []string
	// Model is its name there.
	Model string
	// Version is its version there; empty lets the server choose.
	Version string
	// Timeout bounds one attempt of a call; 0 means [DefaultTimeout].
	Timeout time.Duration
	// Connections is how many connections there are to each replica; 0 means 1. A connection carries many calls at once.
	Connections int
	// TLS says to speak TLS, with the system's roots; otherwise calls are in the clear.
	TLS bool
	// TokenFrom names the environment variable with a bearer token; empty sends none.
	TokenFrom string

	roots *x509.CertPool // in place of the system's, for tests
}

// String says where the model lives, for messages.
func (o *Options) String() string {
	if o.Version == "" {
		return fmt.Sprintf("remote model %q", o.Model)
	}
	return fmt.Sprintf("remote model %q version %q", o.Model, o.Version)
}

func (o *Options) timeout() time.Duration { return cmp.Or(o.Timeout, DefaultTimeout) }

// token reads the bearer token.
func (o *Options) token() (string, error) {
	if o.TokenFrom == "" {
		return "", nil
	}
	token := os.Getenv(o.TokenFrom)
	if token == "" {
		return "", fmt.Errorf("%s: the environment variable %s, which its token is to be read from, is empty", o, o.TokenFrom)
	}
	return token, nil
}
