package oip

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/onehop/onehop/schemas/inference"
	"github.com/onehop/onehop/schemas/inference/inferenceconnect"
)

const (
	// breakerFailures in a row open the breaker of a replica, and onlyFailures that of an address that is the only one: nobody else is there for
	// its callers, and behind it may be several servers of which some answer.
	breakerFailures, onlyFailures = 5, 20
	// breakerDelay is how long a replica is then left alone, before one call tries it.
	breakerDelay = time.Second
	// maxAnswerBytes bounds an answer: one score for each of 16,384 rows, and as much again for outputs that nobody asked for.
	maxAnswerBytes = 4 << 20
)

// endpoint is one replica of a model. It is safe for concurrent use.
type endpoint struct {
	address  string
	index    int // in the model's list
	dialer   *dialer
	clients  []inferenceconnect.GRPCInferenceServiceClient // one for each connection
	next     atomic.Uint32                                 // of clients
	breaker  circuitbreaker.CircuitBreaker[any]
	busy     atomic.Int32 // calls under way
	usual    atomic.Int64 // mean time of calls that were answered, in nanoseconds
	suspect  atomic.Bool  // the last call that tells anything failed
	outcomes [Outcomes]atomic.Uint64
}

// failures is how many in a row open a breaker.
func (o *Options) failures() uint {
	if len(o.Endpoints) == 1 {
		return onlyFailures
	}
	return breakerFailures
}

func newEndpoint(index int, address string, o *Options, token string) *endpoint {
	e := &endpoint{
		address: address, index: index, dialer: newDialer(o.timeout()),
		breaker: circuitbreaker.NewBuilder[any]().WithFailureThreshold(o.failures()).WithSuccessThreshold(1).
			WithDelay(breakerDelay).WithJitterFactor(0.1).Build(),
	}
	url, protocols := "http://"+address, new(http.Protocols)
	if o.TLS {
		url = "https://" + address
	}
	protocols.SetHTTP2(o.TLS)
	protocols.SetUnencryptedHTTP2(!o.TLS)
	options := []connect.ClientOption{
		connect.WithGRPC(), connect.WithReadMaxBytes(maxAnswerBytes),
		connect.WithAcceptCompression("gzip", nil, nil), // numbers hardly get shorter
	}
	if token != "" {
		options = append(options, connect.WithInterceptors(bearer(token)))
	}
	for range max(1, o.Connections) {
		client := &http.Client{Transport: &http.Transport{
			Protocols: protocols, DialContext: e.dialer.dial, IdleConnTimeout: 5 * time.Minute,
			TLSHandshakeTimeout: o.timeout(), TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.roots},
			// A host that vanishes sends no reset: the connection to it must be found out.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
		}}
		e.clients = append(e.clients, inferenceconnect.NewGRPCInferenceServiceClient(client, url, options...))
	}
	return e
}

func bearer(token string) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, req)
		}
	}
}

func (e *endpoint) client() inferenceconnect.GRPCInferenceServiceClient {
	return e.clients[e.next.Add(1)%uint32(len(e.clients))]
}

// patience is how long a first attempt may take. A replica that failed when it was last asked has half of the caller's time: the rest is for
// another one, unless half is less than this one usually takes, which would be too little for that one too.
func (e *endpoint) patience(ctx context.Context, timeout time.Duration) time.Duration {
	deadline, limited := ctx.Deadline()
	if !limited || !e.suspect.Load() {
		return timeout
	}
	half := time.Until(deadline) / 2
	if half < time.Duration(e.usual.Load()) {
		return timeout
	}
	return min(timeout, half)
}

// infer makes one attempt, for which the breaker gave its permit, and checks the answer. When the model failed, settle must follow.
func (e *endpoint) infer(ctx context.Context, req *inference.ModelInferRequest, timeout time.Duration, accept func(*inference.ModelInferResponse) error) (Outcome, error) {
	e.busy.Add(1)
	defer e.busy.Add(-1)
	deadline, limited := ctx.Deadline()
	try, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	short := limited && deadline.Before(began.Add(timeout)) // the server may tell that it passed before our own clock does
	res, err := e.client().ModelInfer(try, req)
	took := time.Since(began)
	if err == nil {
		err = accept(res)
	}
	outcome := outcomeOf(ctx, err)
	if outcome == Canceled && limited && time.Until(deadline) < took/10 {
		outcome = TimedOut // a caller by gRPC goes away at its deadline, and the news of that may be here before our own clock says so
	}
	e.record(outcome, took, short)
	return outcome, err
}

// record tells the breaker and the counters; short says that the caller gave less time than a call may take.
func (e *endpoint) record(outcome Outcome, took time.Duration, short bool) {
	e.outcomes[outcome].Add(1)
	usual := time.Duration(e.usual.Load())
	switch {
	case outcome.doubtful(): // settle tells the breaker
		e.suspect.Store(true)
	case outcome == Unreachable:
		e.suspect.Store(true)
		e.breaker.RecordFailure()
	case outcome == Canceled || outcome == TimedOut && short && took < 2*usual:
		// That was too little time to tell. A permit of a half-open breaker must be given back all the same.
		if e.breaker.IsHalfOpen() {
			e.breaker.RecordFailure()
		}
	case outcome == TimedOut:
		e.suspect.Store(true)
		e.breaker.RecordFailure()
	default: // it answered
		if usual == 0 {
			usual = took
		}
		e.usual.Store(int64(usual + (took-usual)/8)) // of updates at once one may be lost
		e.suspect.Store(false)
		e.breaker.RecordSuccess()
	}
}

// settle tells the breaker of a run in which the model failed; bad says that another replica's did not.
func (e *endpoint) settle(bad bool) {
	if bad {
		e.breaker.RecordFailure()
	} else {
		e.breaker.RecordSuccess() // it answered
	}
}

// EndpointStats is what was asked of one replica.
type EndpointStats struct {
	// Address is host:port.
	Address string
	// Busy is how many calls are under way.
	Busy int
	// Outcomes counts calls by how they ended.
	Outcomes [Outcomes]uint64
	// Open says how far the circuit breaker is open: 0 takes calls, 0.5 lets one try, 1 takes none.
	Open float64
}

func (e *endpoint) stats() EndpointStats {
	s := EndpointStats{Address: e.address, Busy: int(e.busy.Load())}
	for i := range s.Outcomes {
		s.Outcomes[i] = e.outcomes[i].Load()
	}
	switch e.breaker.State() {
	case circuitbreaker.OpenState:
		s.Open = 1
	case circuitbreaker.HalfOpenState:
		s.Open = 0.5
	}
	return s
}
