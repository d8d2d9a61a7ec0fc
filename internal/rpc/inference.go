package rpc

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/internal/servedlog"
	"github.com/onehop/onehop/internal/shadow"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// Inference answers InferenceService.
type Inference struct {
	Models *inference.Set
	Store  *online.Store
	// Now is the clock.
	Now func() time.Time
	// Tracer, when set, makes a span of every run of a model.
	Tracer trace.Tracer
	// Log takes a sample of the predictions; nil when the service logs nothing.
	Log *servedlog.Log
	// Answers counts what was answered; nil counts nothing.
	Answers *Answers
	// Switches is what SwitchModel changes.
	Switches Switches
	// Shadow answers requests once more; nil answers none.
	Shadow *shadow.Pool
	// Recent keeps requests for [Inference.Warm].
	Recent *Recent
}

// run runs the model, in a span of its own where there is a tracer.
func (s *Inference) run(ctx context.Context, hop *inference.Hop, call *hopCall) error {
	if s.Tracer == nil {
		return hop.Run(ctx, &call.request, &call.result)
	}
	ctx, span := s.Tracer.Start(ctx, "model run", trace.WithAttributes(attribute.String("onehop.model", hop.Model.Name),
		attribute.Int("onehop.model.version", hop.Model.Number), attribute.Int("onehop.candidates", call.request.Candidates)))
	defer span.End()
	err := hop.Run(ctx, &call.request, &call.result)
	if err != nil {
		span.RecordError(err)
	}
	return err
}

// hopCall is what one call of GetFeaturesAndPredict needs; it is used again.
type hopCall struct {
	keys    []plan.Keys
	split   plan.Keys // by which the request is split
	columns []plan.KeyColumn
	request inference.Request
	result  inference.Result
	order   []uint64 // see place
	room    []uint64 // as many
	of      *inference.Hop
	views   []*online.View // of the hop's plan
	read    time.Time      // when the rows were there
	left    time.Duration  // for which the answer may be kept

	maxStale time.Duration
}

var hopCalls = sync.Pool{New: func() any { return &hopCall{} }}

// GetFeaturesAndPredict reads rows in one round trip and scores candidates in one run.
func (s *Inference) GetFeaturesAndPredict(ctx context.Context, req *onehopv1.GetFeaturesAndPredictRequest) (_ *onehopv1.GetFeaturesAndPredictResponse, err error) {
	call := hopCalls.Get().(*hopCall)
	defer hopCalls.Put(call)
	call.left = 0
	defer func() { allowKeeping(ctx, call.left, err) }()
	picked, err := s.Models.Pick(inference.Want{
		Model: req.GetModel(), Version: req.GetVersion(), Alias: req.GetAlias(),
		Key: func(e *featurestore.Entity) ([]byte, error) { return call.shared(e, req) },
	})
	if err != nil {
		return nil, err
	}
	defer picked.Release()
	res, err := s.answer(ctx, picked.Hop, call, req)
	s.Answers.count(&picked, err)
	if err != nil {
		return nil, err
	}
	res.Variant = picked.Variant
	if !res.GetCached() {
		s.Recent.keep(req, call.read)
		s.shadow(&picked, call, req)
	}
	return res, nil
}

// compute answers by one version, by a read and a run of the model.
func (s *Inference) compute(ctx context.Context, hop *inference.Hop, call *hopCall, req *onehopv1.GetFeaturesAndPredictRequest, logged bool) (*onehopv1.GetFeaturesAndPredictResponse, error) {
	if err := call.take(hop, req); err != nil {
		return nil, err
	}
	b, err := call.budget(ctx, hop, req)
	if err != nil {
		return nil, err
	}
	defer call.request.Admission.Withdraw() // where it does not come to a run
	start := s.Now()
	read, err := s.readWithin(ctx, &b, hop, call, logged || req.GetProvenance())
	defer func() { read.Release() }() // which the log may have taken
	if err != nil {
		return nil, err
	}
	if read.Filling() && !req.GetAllowStale() {
		return nil, errFilling()
	}
	if err := s.run(ctx, hop, call); err != nil {
		return nil, err
	}
	res := call.respond(hop, req)
	res.Timings = &onehopv1.Timings{
		ReadUs: call.read.Sub(start).Microseconds(), AssembleUs: call.result.Assemble.Microseconds(), RunUs: call.result.Run.Microseconds(),
		WaitUs: call.result.Wait.Microseconds(),
	}
	res.StalenessUs = read.Age().Microseconds()
	if req.GetProvenance() {
		if res.Provenance, err = call.provenance(hop, read); err != nil {
			return nil, err
		}
	}
	if req.GetReturnFeatures() {
		if res.Features, err = call.features(hop, res.GetIndexes()); err != nil {
			return nil, err
		}
	}
	if logged && read.Marked() && !read.Filling() {
		s.Log.Put(call.vectors(hop, read, requestID(ctx)))
		read = nil
	}
	return res, nil
}

// readWithin is read with the time that the budget leaves it.
func (s *Inference) readWithin(ctx context.Context, b *budget, hop *inference.Hop, call *hopCall, marked bool) (*online.Read, error) {
	if b.limit >= online.MaxRead { // a read takes no longer anyway
		return s.read(ctx, hop, call, marked)
	}
	within, stop := b.within(ctx)
	defer stop()
	read, err := s.read(within, hop, call, marked)
	if err != nil && past(within) && ctx.Err() == nil && !refused(err) {
		err = b.late(err)
	}
	return read, err
}

// read fetches the rows of a request and makes the call ready to run. The Read is to be released, also after an error.
func (s *Inference) read(ctx context.Context, hop *inference.Hop, call *hopCall, marked bool) (*online.Read, error) {
	read := s.Store.NewRead()
	switch {
	case marked:
		read.Mark()
	case !call.request.NoCache:
		read.UseNear(call.maxStale)
	}
	call.prepare(hop)
	for i, view := range call.views {
		keys := &call.keys[hop.Plan.Views[i].Entity]
		for row := range hop.RowCount(i, call.request.Candidates) {
			read.Add(view, keys.At(row))
		}
	}
	if err := read.Do(ctx); err != nil {
		return read, err
	}
	call.read = s.Now()
	call.request.Rows, call.request.Now, call.request.Filling = read, call.read.UnixMicro(), read.Filling()
	call.result = inference.Result{Scores: call.result.Scores}
	return read, nil
}

// prepare makes what calls of one hop have in common.
func (c *hopCall) prepare(hop *inference.Hop) {
	if c.of == hop {
		return
	}
	c.of, c.views = hop, nil
	for i := range hop.Plan.Views {
		c.views = append(c.views, online.NewView(hop.Plan.Catalog.Namespace, hop.Plan.Views[i].View))
	}
}

// shared encodes the one key of a shared entity; it is valid until the next call.
func (c *hopCall) shared(entity *featurestore.Entity, req *onehopv1.GetFeaturesAndPredictRequest) ([]byte, error) {
	if err := c.one(entity, req, &c.split); err != nil {
		return nil, err
	}
	return c.split.At(0), nil
}

// one encodes the key of a shared entity.
func (c *hopCall) one(entity *featurestore.Entity, req *onehopv1.GetFeaturesAndPredictRequest, keys *plan.Keys) error {
	c.columns = c.columns[:0]
	for _, key := range entity.Keys {
		column, err := keyColumn("entities", key, req.GetEntities()[key.Name])
		if err != nil {
			return err
		}
		if column.Len() != 1 {
			return featurestore.Errorf(featurestore.Invalid, "entities: join key %q has %d values; a shared entity has one", key.Name, column.Len())
		}
		c.columns = append(c.columns, column)
	}
	return keys.Set(entity, c.columns)
}

// take checks a request and encodes its keys.
func (c *hopCall) take(hop *inference.Hop, req *onehopv1.GetFeaturesAndPredictRequest) error {
	candidates := hop.Plan.Catalog.Entity(hop.Definition.Candidates)
	n, err := c.candidates(candidates, req)
	if err != nil {
		return err
	}
	c.request.Candidates, c.request.FailOnMissing = n, req.GetFailOnMissing()
	c.request.Priority = priorities[req.GetPriority()]
	c.request.NoCache = req.GetNoCache()
	c.maxStale = time.Duration(req.GetMaxStalenessMs()) * time.Millisecond
	if len(c.keys) < len(hop.Plan.Entities) {
		c.keys = make([]plan.Keys, len(hop.Plan.Entities))
	}
	wanted := 0
	for i, entity := range hop.Plan.Entities {
		if i != hop.Candidate {
			wanted += len(entity.Keys)
			if err := c.one(entity, req, &c.keys[i]); err != nil {
				return err
			}
			continue
		}
		c.columns = c.columns[:0]
		for _, key := range entity.Keys {
			column, err := keyColumn("candidates", key, req.GetCandidates()[key.Name])
			if err != nil {
				return err
			}
			c.columns = append(c.columns, column)
		}
		if err := c.keys[i].Set(entity, c.columns); err != nil {
			return err
		}
	}
	if len(req.GetEntities()) > wanted {
		if err := unwantedEntity(hop, req.GetEntities()); err != nil {
			return err
		}
	}
	return c.fields(hop, req.GetRequest(), n)
}

// candidates checks the candidates' join keys and returns how many candidates there
// are.
func (c *hopCall) candidates(entity *featurestore.Entity, req *onehopv1.GetFeaturesAndPredictRequest) (int, error) {
	n := 0
	for _, key := range entity.Keys {
		column, err := keyColumn("candidates", key, req.GetCandidates()[key.Name])
		if err != nil {
			return 0, err
		}
		if n > 0 && column.Len() != n {
			return 0, featurestore.Errorf(featurestore.Invalid, "candidates: join key %q has %d values where there are %d candidates", key.Name, column.Len(), n)
		}
		n = column.Len()
	}
	if len(req.GetCandidates()) > len(entity.Keys) {
		names := make([]string, len(entity.Keys))
		for i, key := range entity.Keys {
			names[i] = key.Name
		}
		return 0, checkNames("candidates", req.GetCandidates(), func(name string) bool { return slices.Contains(names, name) }, names)
	}
	return n, nil
}

// unwantedEntity refuses what no version of the model reads. What another version reads may be given: callers need not know
// which one answers.
func unwantedEntity(hop *inference.Hop, given map[string]*onehopv1.Values) error {
	var names []string
	for _, entity := range hop.Shared {
		for _, key := range entity.Keys {
			names = append(names, key.Name)
		}
	}
	return checkNames("entities", given, func(name string) bool { return slices.Contains(names, name) }, names)
}

// fields takes the request fields.
func (c *hopCall) fields(hop *inference.Hop, given map[string]*onehopv1.Values, candidates int) error {
	declared := hop.Definition.Request
	if len(c.request.Fields) != len(declared) {
		c.request.Fields, c.request.Texts = make([][]float64, len(declared)), make([][]string, len(declared))
	}
	found := 0
	for i := range declared {
		c.request.Fields[i], c.request.Texts[i] = nil, nil
		v, ok := given[declared[i].Name]
		if !ok {
			continue
		}
		found++
		var err error
		if declared[i].Type == featurestore.String {
			c.request.Texts[i], err = texts("request", declared[i].Name, v)
		} else {
			c.request.Fields[i], err = floats("request", declared[i].Name, v)
		}
		if err != nil {
			return err
		}
		if n := length(v); n != 1 && n != candidates {
			return featurestore.Errorf(featurestore.Invalid, "request: %q has %d values; give one, or one for each of the %d candidates", declared[i].Name, n, candidates)
		}
	}
	if err := c.values(hop, given, candidates); err != nil {
		return err
	}
	if found == len(given) {
		return nil
	}
	names := make([]string, len(declared))
	for i := range declared {
		names[i] = declared[i].Name
	}
	return checkNames("request", given, func(name string) bool { return slices.Contains(names, name) }, names)
}

// values takes the request fields that features are computed from.
func (c *hopCall) values(hop *inference.Hop, given map[string]*onehopv1.Values, candidates int) error {
	c.request.Values = c.request.Values[:0]
	for i := range hop.Plan.Request {
		values, err := fieldValues(&hop.Plan.Request[i], given)
		if err != nil {
			return err
		}
		if len(values) != 1 && len(values) != candidates {
			return featurestore.Errorf(featurestore.Invalid, "request: %q has %d values; give one, or one for each of the %d candidates", hop.Plan.Request[i].Name, len(values), candidates)
		}
		c.request.Values = append(c.request.Values, values)
	}
	return nil
}
