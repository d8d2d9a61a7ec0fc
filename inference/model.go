package inference

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/batching"
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
}

// Load loads a version, checks it against its model.yaml and runs it once on zeros. Its caches share answers when shared is not nil, and
// say in the log when they turn off or on.
func Load(rt *onnx.Runtime, version repository.Version, shared *predictions.Shared, log *slog.Logger) (*Model, error) {
	if version.Err != nil {
		return nil, version.Err
	}
	session, err := rt.Load(version.ModelPath, onnx.Options{
		Outputs: []string{version.Spec.Output}, IntraOpThreads: version.Spec.Threads, Provider: version.Spec.Provider,
	})
	if err != nil {
		return nil, err
	}
	if err := version.Spec.Check(session.Inputs(), session.Outputs()); err != nil {
		_ = session.Close()
		return nil, err
	}
	options := version.Spec.Batching
	if fixed := session.FixedRows(); fixed > 0 {
		options.Sizes = []int{fixed} // what the rest of the memory holds is scored and not looked at
	}
	newBatch := func(rows int) (batching.Batch, error) { return session.NewBatch(rows) }
	fallback := session.Fallback()
	if fallback != nil {
		fallback = fmt.Errorf("it is computed by the CPU, as its model.yaml allows: %w", fallback)
	}
	m := &Model{
		Version: version, Name: version.Model, Provider: session.Provider(), Fallback: fallback, inputs: session.Inputs(),
		queue: batching.New(newBatch, options), unload: session.Close,
	}
	m.keep(shared, log)
	return m, nil
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
// features are read.
func (m *Model) Admit(deadline time.Time, candidates, priority int) (run time.Duration, err error) {
	run, err = m.queue.Admit(deadline, candidates, priority)
	return run, m.known(err)
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
		return featurestore.Errorf(featurestore.Exhausted, "model %q cannot answer in time: %s", m.Name, refused.Reason).After(refused.Retry)
	}
	return fmt.Errorf("model %s version %d: %w", m.Name, m.Number, err)
}
