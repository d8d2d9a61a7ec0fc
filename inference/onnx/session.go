package onnx

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/onnx/binding"
	"github.com/onehop/onehop/inference/onnx/cuda"
	"github.com/onehop/onehop/inference/provider"
	"github.com/onehop/onehop/inference/tensor"
)

// ErrBadModel is wrapped by errors about a model that can't be loaded or can't be run in batches.
var ErrBadModel = errors.New("bad model")

// Options tune a session. The zero value is right for rankers on CPUs that serve many requests at once.
type Options struct {
	// IntraOpThreads is how many threads share one operator; 0 means 1. More help large models on idle machines, and cost
	// throughput and tail latency when requests are concurrent.
	IntraOpThreads int
	// InterOpThreads is how many operators of one run may run side by side; 0 means 1.
	InterOpThreads int
	// MaxFileBytes bounds the model file; 0 means 512 MiB.
	MaxFileBytes int64
	// Outputs names the outputs that batches receive, in the order of [tensor.Memory.Scores]; empty means all that are numeric tensors
	// with rows first.
	Outputs []string
	// Provider computes the model.
	Provider provider.Options
	// Sizes are the numbers of rows that runs have, ascending, where Provider.Graphs is to capture one for each; else they mean nothing.
	Sizes []int
}

const defaultMaxFileBytes = 512 << 20

// Session is one loaded model. It is safe for concurrent use; each concurrent run needs a [Batch] of its own.
type Session struct {
	name     string
	inputs   []tensor.Info
	outputs  []tensor.Info // those that batches receive, open dimensions but the first filled in
	rows     int           // the fixed number of rows, or 0
	provider string
	fallback error // why the provider is the CPU where another was wanted

	mu      sync.RWMutex // held for reading while a run is under way
	session *ort.DynamicAdvancedSession
	batches map[*Batch]struct{}
	graphs  *graphs // nil where runs launch what they do one by one
}

// Load reads the ONNX file at path, compiles it and tries it on one row of zeros. The model must keep its weights in that
// one file. Errors about the model itself wrap [ErrBadModel]; they never end the process, whatever the file holds. A provider
// that is not to be had is an [ErrNoProvider], unless the options say to fall back: then [Session.Fallback] tells.
func (r *Runtime) Load(path string, options Options) (*Session, error) {
	if options.MaxFileBytes == 0 {
		options.MaxFileBytes = defaultMaxFileBytes
	}
	model, err := readBounded(path, options.MaxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	return r.LoadBytes(path, model, options)
}

// LoadBytes is Load for a model in memory; name stands for the path in errors. The session keeps no reference to model.
func (r *Runtime) LoadBytes(name string, model []byte, options Options) (*Session, error) {
	if err := r.acquire(); err != nil {
		return nil, fmt.Errorf("load model %s: %w", name, err)
	}
	session, err := load(r.library, name, model, options)
	if err != nil && options.Provider.Fallback {
		wanted := err
		options.Provider = provider.Options{}
		if session, err = load(r.library, name, model, options); err == nil {
			session.fallback = wanted
		}
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("load model %s: %w", name, err)
	}
	return session, nil
}

func readBounded(path string, limit int64) (model []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	model, err = io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(model)) > limit {
		return nil, fmt.Errorf("%s: %w: larger than %d bytes; raise the limit if that is meant", path, ErrBadModel, limit)
	}
	return model, nil
}

func load(library, name string, model []byte, options Options) (*Session, error) {
	inputs, outputs, err := ort.GetInputOutputInfoWithONNXData(model)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadModel, err)
	}
	s := &Session{
		name: name, inputs: tensorInfos(inputs), batches: map[*Batch]struct{}{},
		provider: cmp.Or(options.Provider.Name, provider.CPU),
	}
	if s.rows, err = checkInputs(s.inputs); err != nil {
		return nil, err
	}
	if s.outputs, err = chooseOutputs(tensorInfos(outputs), options.Outputs); err != nil {
		return nil, err
	}
	sessionOptions, err := newSessionOptions(library, options)
	if err != nil {
		return nil, err
	}
	if s.provider != provider.CPU {
		loading.Lock()
		defer loading.Unlock()
	}
	err = s.compile(library, model, sessionOptions, options)
	if err = errors.Join(err, sessionOptions.Destroy()); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrBadModel, err), s.unload())
	}
	return s, nil
}

// compile makes ONNX Runtime's session of the model, tries it, and captures its graphs where they are asked for.
func (s *Session) compile(library string, model []byte, sessionOptions *ort.SessionOptions, options Options) (err error) {
	if !options.Provider.Graphs {
		return s.start(model, sessionOptions, nil)
	}
	api, err := binding.Open(library)
	if err != nil {
		return err
	}
	plain, err := plainRun(api)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Destroy()) }()
	if err := s.start(model, sessionOptions, plain); err != nil {
		return err
	}
	d, err := cuda.Open(options.Provider.Device)
	if err != nil {
		return err
	}
	sizes := options.Sizes
	if s.rows > 0 {
		sizes = []int{s.rows}
	}
	s.graphs, err = newGraphs(s, api, d, sizes)
	return err
}

// start makes the session and tries it by runs with the options, which may be nil.
func (s *Session) start(model []byte, sessionOptions *ort.SessionOptions, options *ort.RunOptions) (err error) {
	s.session, err = ort.NewDynamicAdvancedSessionWithONNXData(model, tensor.Names(s.inputs), tensor.Names(s.outputs), sessionOptions)
	if err != nil {
		return err
	}
	return s.probe(options)
}

// useGPU keeps graphs from being captured until what it returns is called, if the model is on a GPU.
func (s *Session) useGPU() (done func()) {
	if s.provider == provider.CPU {
		return func() {}
	}
	capturing.RLock()
	return capturing.RUnlock
}

// checkInputs returns the number of rows that the model is fixed to, or 0.
func checkInputs(inputs []tensor.Info) (rows int, err error) {
	if len(inputs) == 0 {
		return 0, fmt.Errorf("%w: it has no inputs", ErrBadModel)
	}
	for _, input := range inputs {
		switch {
		case input.Type == tensor.Other:
			return 0, fmt.Errorf("%w: input %s: only float16, float, double, int32, int64 and string tensors can be fed", ErrBadModel, input)
		case len(input.Shape) == 0 || input.Width() < 1:
			return 0, fmt.Errorf("%w: input %s: the shape must be [rows, ...], every size but rows known, and at most %d elements a row",
				ErrBadModel, input, tensor.MaxWidth)
		case rows > 0 && input.Shape[0] > 0 && int(input.Shape[0]) != rows:
			return 0, fmt.Errorf("%w: input %s: another input is fixed to %d rows", ErrBadModel, input, rows)
		case input.Shape[0] > 0:
			rows = int(input.Shape[0])
		}
	}
	return rows, nil
}

func chooseOutputs(all []tensor.Info, wanted []string) ([]tensor.Info, error) {
	usable := func(info tensor.Info) bool { return info.Type.Size() > 0 && len(info.Shape) > 0 }
	var chosen []tensor.Info
	if len(wanted) == 0 {
		for _, info := range all {
			if usable(info) {
				chosen = append(chosen, info)
			}
		}
		if len(chosen) == 0 {
			return nil, fmt.Errorf("%w: none of its outputs (%s) is a numeric tensor of rows", ErrBadModel, strings.Join(tensor.Names(all), ", "))
		}
		return chosen, nil
	}
	for _, name := range wanted {
		i := slices.IndexFunc(all, func(info tensor.Info) bool { return info.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: it has no output %q, only %s", ErrBadModel, name, strings.Join(tensor.Names(all), ", "))
		}
		if !usable(all[i]) {
			return nil, fmt.Errorf("%w: output %s is not a numeric tensor of rows", ErrBadModel, all[i])
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func newSessionOptions(library string, options Options) (*ort.SessionOptions, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		o.SetIntraOpNumThreads(max(1, options.IntraOpThreads)),
		o.SetInterOpNumThreads(max(1, options.InterOpThreads)),
		// Waiting threads that spin take the processor from other requests: halved throughput, 5-20 ms tails on two cores.
		o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
		o.AddSessionConfigEntry("session.inter_op.allow_spinning", "0"),
		// Patterns are remembered per input shape, without bound; the number of rows varies from run to run.
		o.SetMemPattern(false),
		o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		o.SetLogSeverityLevel(ort.LoggingLevelFatal), // errors are returned,
		setProvider(o, library, options.Provider),
	)
	if err != nil {
		return nil, errors.Join(err, o.Destroy())
	}
	return o, nil
}

// Name is the path that the model was loaded from, or the name given to LoadBytes.
func (s *Session) Name() string { return s.name }

// Inputs describes the model's inputs in its order: the index is that of [tensor.Memory.Float32]. The caller must not change it.
func (s *Session) Inputs() []tensor.Info { return s.inputs }

// Outputs describes the outputs that batches receive: the index is that of [tensor.Memory.Scores]. The caller must not change it.
func (s *Session) Outputs() []tensor.Info { return s.outputs }

// Provider is the execution provider that computes the model: [provider.CPU], [provider.CUDA] or [provider.TensorRT].
func (s *Session) Provider() string { return s.provider }

// Fallback says why the model is computed by the CPU although another provider was asked for; nil if it is not so.
func (s *Session) Fallback() error { return s.fallback }

// FixedRows is the number of rows that the model insists on in every run, or 0 if it takes any number.
func (s *Session) FixedRows() int { return s.rows }

// Close waits for runs under way, unloads the model and makes later runs fail with [ErrClosed]. The memory of batches stays
// valid until they are closed themselves. Close is idempotent.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return nil
	}
	var errs []error
	for batch := range s.batches {
		errs = append(errs, batch.detach())
	}
	errs = append(errs, s.unload())
	s.session, s.batches = nil, nil
	release()
	return errors.Join(errs...)
}

// unload frees what the session has of the runtime and of the GPU.
func (s *Session) unload() (err error) {
	if s.graphs != nil {
		err = s.graphs.close()
	}
	if s.session != nil {
		defer s.useGPU()()
		err = errors.Join(err, s.session.Destroy())
	}
	return err
}
