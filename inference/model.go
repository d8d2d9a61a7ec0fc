package inference

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/predictions"
	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/tensor"
)

// Model is one loaded version of a model. It is safe for concurrent use.
type Model struct {
	repository.Version
	// Name is the model's name.
	Name string
	// Provider is the execution provider that computes it, and Fallback why that is the CPU where model.yaml says another.
	Provider string
	Fallback error

	inputs []tensor.Info
	queue  *batching.Queue
	rows   *predictions.Rows // nil when its scores are not kept
	kept   *predictions.Answers
	unload func() error
	uses   atomic.Int64 // requests that have it, −1 once it is shut
	remote *oip.Model   // nil when the model runs in this process
}

// engine is what runs a version.
type engine interface {
	Inputs() []tensor.Info
	Outputs() []tensor.Info
	FixedRows() int
	Close() error
}

// Load loads a version, in this process or by asking the servers where it lives, checks it against its model.yaml and runs it once
// on zeros. Its caches share answers when shared is not nil, and say in the log when they turn off or on.
func Load(ctx context.Context, rt *onnx.Runtime, version repository.Version, shared *predictions.Shared, log *slog.Logger) (*Model, error) {
	if version.Err != nil {
		return nil, version.Err
	}
	m := &Model{Version: version, Name: version.Model}
	if version.Spec.Remote != nil {
		if err := m.loadRemote(ctx); err != nil {
			return nil, err
		}
		m.keep(shared, log)
		return m, nil
	}
	session, err := rt.Load(version.ModelPath, onnx.Options{
		Outputs: []string{version.Spec.Output}, IntraOpThreads: version.Spec.Threads, Provider: version.Spec.Provider,
		Sizes: version.Spec.Batching.Sizes,
	})
	if err != nil {
		return nil, err
	}
	m.Provider = session.Provider()
	if fallback := session.Fallback(); fallback != nil {
		m.Fallback = fmt.Errorf("it is computed by the CPU, as its model.yaml allows: %w", fallback)
	}
	if err := m.serve(session, m.Spec.Batching, func(rows int) (batching.Batch, error) { return session.NewBatch(rows) }); err != nil {
		return nil, err
	}
	m.keep(shared, log)
	return m, nil
}

// loadRemote asks the servers where the model lives.
func (m *Model) loadRemote(ctx context.Context) error {
	remote, err := oip.Load(ctx, *m.Spec.Remote, m.Spec.Output)
	if err != nil {
		return err
	}
	m.remote, m.SHA256 = remote, remote.Digest()
	options := m.Spec.Batching
	options.Instances = cmp.Or(options.Instances, oip.RunsPerEndpoint*len(m.Spec.Remote.Endpoints))
	if err := m.serve(remote, options, func(rows int) (batching.Batch, error) { return remote.NewBatch(rows) }); err != nil {
		return err
	}
	if err := remote.Try(ctx, m.queue.MaxRows()); err != nil {
		return errors.Join(fmt.Errorf("the largest run that batching in model.yaml allows: %w", err), m.Close())
	}
	return nil
}

// serve checks what was loaded and makes its queue.
func (m *Model) serve(rt engine, options batching.Options, newBatch func(rows int) (batching.Batch, error)) error {
	if err := m.Spec.Check(rt.Inputs(), rt.Outputs()); err != nil {
		return errors.Join(err, rt.Close())
	}
	if fixed := rt.FixedRows(); fixed > 0 {
		options.Sizes = []int{fixed} // what the rest of the memory holds is scored and not looked at
	}
	m.inputs, m.queue, m.unload = rt.Inputs(), batching.New(newBatch, options), rt.Close
	return nil
}

// Endpoints says what was asked of each server of a model that lives elsewhere; nil for one of this process.
func (m *Model) Endpoints() []oip.EndpointStats {
	if m.remote == nil {
		return nil
	}
	return m.remote.Endpoints()
}

// keep makes the caches that the version asks for.
func (m *Model) keep(shared *predictions.Shared, log *slog.Logger) {
	of := predictions.Of{Model: m.Name, Version: m.Number, Digest: m.SHA256 + m.SpecSHA256}
	if k := m.Spec.Cache.Exact; k.TTL > 0 {
		m.rows = predictions.NewRows(k, of, m.queue, log)
	}
	if k := m.Spec.Cache.Request; k.TTL > 0 {
		if !m.Spec.Cache.Share {
			shared = nil
		}
		m.kept = predictions.NewAnswers(k, of, shared, log)
	}
}

// Answers is the cache of whole answers; nil where the model's answers are not kept.
func (m *Model) Answers() *predictions.Answers { return m.kept }

// Kept says what the caches of the model have done, by kind; there are none but those that its model.yaml asks for.
func (m *Model) Kept() map[string]predictions.Stats {
	kept := map[string]predictions.Stats{}
	if m.rows != nil {
		kept["exact"] = m.rows.Stats()
	}
	if m.kept != nil {
		kept["request"] = m.kept.Stats()
	}
	return kept
}

// Stats says what the model has run.
func (m *Model) Stats() batching.Stats { return m.queue.Stats() }

// Close frees the model's memory; runs under way finish first.
func (m *Model) Close() error {
	if m.rows != nil {
		m.rows.Close()
	}
	if m.kept != nil {
		m.kept.Close()
	}
	if err := errors.Join(m.queue.Close(), m.unload()); err != nil {
		return fmt.Errorf("model %s version %d: %w", m.Name, m.Number, err)
	}
	return nil
}

// Admit says whether a request that came now could be answered by its deadline, and how long its run takes. It is asked before
// features are read, and its answer is given to the run or withdrawn.
func (m *Model) Admit(deadline time.Time, candidates, priority int) (batching.Admission, error) {
	admission, err := m.queue.Admit(deadline, candidates, priority)
	return admission, m.known(err)
}

// run runs the model on the first rows of a batch, with those of other requests, and appends their scores. Rows whose scores are kept are
// not run, but with noCache all are.
func (m *Model) run(ctx context.Context, b batching.Batch, r batching.Request, noCache bool) (scores []float32, waited time.Duration, err error) {
	switch {
	case m.rows == nil:
		scores, waited, err = m.queue.Run(ctx, b, r)
	case noCache:
		scores, waited, err = m.rows.RunAll(ctx, b, r)
	default:
		scores, waited, err = m.rows.Run(ctx, b, r)
	}
	return scores, waited, m.known(err)
}

// known says of an error of the queue what callers may know.
func (m *Model) known(err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*batching.RefusedError](err); ok {
		return featurestore.Errorf(featurestore.Exhausted, "model %q cannot answer in time: %s", m.Name, refused).After(refused.Retry)
	}
	err = fmt.Errorf("model %s version %d: %w", m.Name, m.Number, err)
	if failed, ok := errors.AsType[*oip.Error](err); ok {
		return remoteError(m.Name, failed, err)
	}
	return err
}

// remoteError is what a caller is told of a failure on another server; the log has the rest.
func remoteError(model string, failed *oip.Error, err error) error {
	switch {
	case failed.Unavailable():
		return featurestore.Errorf(featurestore.Unavailable, "model %q cannot be reached on its servers now", model).Because(err)
	case failed.Outcome == oip.Refused:
		return featurestore.Errorf(featurestore.Invalid, "model %q refuses the values of this request", model).Because(err)
	default:
		return err
	}
}
