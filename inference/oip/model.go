package oip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/onehop/onehop/inference/tensor"
	"github.com/onehop/onehop/schemas/inference"
)

// ErrClosed is wrapped by errors of runs of a model that was closed.
var ErrClosed = errors.New("the remote model was closed")

// Model is a model on other servers. It is safe for concurrent use; each concurrent run needs a [Batch] of its own.
type Model struct {
	options   Options
	endpoints []*endpoint
	next      atomic.Uint32 // where the next look for a replica begins
	metadata  *metadata
	output    string
	rows      int // fixed, or 0

	closed atomic.Bool
	once   sync.Once
}

// Load asks the servers for a model, in turn until one has it, and tries it on one row of zeros. Batches receive the one output that is
// named. It takes no longer than the context, and no call longer than the timeout of the options.
func Load(ctx context.Context, o Options, output string) (*Model, error) {
	if len(o.Endpoints) == 0 || len(o.Endpoints) > MaxEndpoints {
		return nil, fmt.Errorf("%s: %d endpoints are given; 1 to %d can be", &o, len(o.Endpoints), MaxEndpoints)
	}
	token, err := o.token()
	if err != nil {
		return nil, err
	}
	m := &Model{options: o, output: output}
	for i, address := range o.Endpoints {
		m.endpoints = append(m.endpoints, newEndpoint(i, address, &o, token))
	}
	if err := m.load(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Model) load(ctx context.Context) (err error) {
	if m.metadata, err = m.ask(ctx); err != nil {
		return err
	}
	if m.rows, err = fixedRows(m.metadata.inputs); err != nil {
		return fmt.Errorf("%s: %w", &m.options, err)
	}
	return m.probe(ctx)
}

// ask asks the replicas in turn for the model's description.
func (m *Model) ask(ctx context.Context) (*metadata, error) {
	var errs []error
	for _, e := range m.endpoints {
		described, err := m.askOne(ctx, e)
		if err == nil {
			return described, nil
		}
		errs = append(errs, m.failure(e, outcomeOf(ctx, err), err))
	}
	return nil, errors.Join(errs...)
}

func (m *Model) askOne(ctx context.Context, e *endpoint) (*metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, m.options.timeout())
	defer cancel()
	ready, err := e.client().ModelReady(ctx, &inference.ModelReadyRequest{Name: m.options.Model, Version: m.options.Version})
	if err != nil {
		return nil, err
	}
	if !ready.GetReady() {
		return nil, errors.New("the server says that the model is not ready")
	}
	described, err := e.client().ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: m.options.Model, Version: m.options.Version})
	if err != nil {
		return nil, err
	}
	about, err := describe(described, m.output)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return about, nil
}

// probe runs the model on zeros once, so that one that can't run fails at load and not at the first request, and fills in the sizes of
// the output's dimensions that the description leaves open.
func (m *Model) probe(ctx context.Context) error {
	info := &m.metadata.outputs[0]
	if info.Width() < 0 { // room for one number is enough: more cannot be a score
		info.Shape = []int64{info.Shape[0], 1}
	}
	return m.Try(ctx, max(1, m.rows))
}

// Try runs the model on so many rows of zeros. Servers bound the rows or the bytes of a run (Triton: max_batch_size), and their
// descriptions do not say so.
func (m *Model) Try(ctx context.Context, rows int) (err error) {
	b, err := m.NewBatch(rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := b.Run(ctx, rows); err != nil {
		return fmt.Errorf("trial run: %w", err)
	}
	return nil
}

// Inputs describes the model's inputs in its order. The caller must not change it.
func (m *Model) Inputs() []tensor.Info { return m.metadata.inputs }

// Outputs describes the one output that batches receive. The caller must not change it.
func (m *Model) Outputs() []tensor.Info { return m.metadata.outputs }

// FixedRows is the number of rows that the model insists on in every run, or 0 if it takes any number.
func (m *Model) FixedRows() int { return m.rows }

// Digest tells one model from another that a server has under the same name: it is of what the server said of it at load.
func (m *Model) Digest() string { return m.metadata.digest }

// Changed says whether the servers describe another model now. Servers that do not answer change nothing.
func (m *Model) Changed(ctx context.Context) bool {
	for _, e := range m.endpoints {
		if described, err := m.askOne(ctx, e); err == nil {
			return described.digest != m.metadata.digest
		}
	}
	return false
}

// Endpoints says what was asked of each replica.
func (m *Model) Endpoints() []EndpointStats {
	all := make([]EndpointStats, len(m.endpoints))
	for i, e := range m.endpoints {
		all[i] = e.stats()
	}
	return all
}

// Close closes the connections and makes later runs fail with [ErrClosed]; runs should have ended. It is idempotent.
func (m *Model) Close() error {
	m.once.Do(func() {
		m.closed.Store(true)
		for _, e := range m.endpoints {
			e.dialer.close()
		}
	})
	return nil
}

// outputTensor finds the output that was asked for.
func (m *Model) outputTensor(res *inference.ModelInferResponse) int {
	return slices.IndexFunc(res.GetOutputs(), func(o *inference.ModelInferResponse_InferOutputTensor) bool { return o.GetName() == m.output })
}
