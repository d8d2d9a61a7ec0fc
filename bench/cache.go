package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// CacheResult is what [Cache] measures.
type CacheResult struct {
	// A call of a model that takes about a second, and the same call again, by each kind of cache; whole calls over HTTP.
	Uncached  float64 `json:"uncached_p50_ms"`
	Cached    float64 `json:"cached_p50_us"`
	CachedP99 float64 `json:"cached_p99_us"`
	Exact     float64 `json:"exact_p50_us"`
	Speedup   float64 `json:"speedup"`
	SpeedupBy float64 `json:"speedup_exact"`
	// The ranker without a cache, and by how much longer it takes with both kinds when nothing is asked twice: while they are on, off, and
	// tried by a sample. Each is of medians, measured in turn.
	Plain        float64 `json:"ranker_p50_us"`
	Overhead     float64 `json:"miss_overhead"`
	OverheadOff  float64 `json:"miss_overhead_off"`
	OverheadTry  float64 `json:"miss_overhead_sampling"`
	SecondsToOff float64 `json:"seconds_to_off"`
}

// The models of [Cache].
const (
	bothCaches  = "cache: {exact: {ttl: 10s, max_mb: 64}, request: {ttl: 10s, max_mb: 64}}\n"
	slowWidth   = 4096
	slowTakes   = time.Second
	slowCalls   = 5
	untilOff    = 90 * time.Second
	untilTrying = 120 * time.Second
)

// cacheBench is the service with its models.
type cacheBench struct {
	*hopStack
	hour atomic.Int64 // makes every call another
}

// Cache measures what the prediction cache saves with a model that takes a second, and what it costs the ranker of [Hop] when no request comes
// again.
func Cache(ctx context.Context, o HopOptions) (*CacheResult, error) {
	if o.Duration == 0 {
		o.Duration = 5 * time.Second
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	slow, err := slowModel(ctx, o)
	if err != nil {
		return nil, err
	}
	ranker, cached := hopRanker(), hopRanker()
	cached.name, cached.options = "cached", bothCaches
	fmt.Fprintln(o.Progress, "starting Redis, Postgres and the inference service, and folding events into rows")
	h, err := startHop(ctx, o, ranker, cached, slow,
		hopModel{"slow_request", "cache: {request: {ttl: 10m}}\n", slow.artifact}, hopModel{"slow_exact", "cache: {exact: {ttl: 10m}}\n", slow.artifact})
	if err != nil {
		return nil, err
	}
	defer h.stop()
	b := &cacheBench{hopStack: h}
	r := &CacheResult{}
	if err := b.overheads(ctx, o, r); err != nil {
		return nil, err
	}
	return r, b.speedups(ctx, o, r)
}

// ask asks a model for the scores of one draw.
func (b *cacheBench) ask(ctx context.Context, model string, d *draw, hour float64) error {
	res, err := b.client.GetFeaturesAndPredict(ctx, &onehopv1.GetFeaturesAndPredictRequest{
		Model:      model,
		Entities:   map[string]*onehopv1.Values{"user_id": {Int64: []int64{d.user}}},
		Candidates: map[string]*onehopv1.Values{"item_id": {Int64: d.items}},
		Request:    map[string]*onehopv1.Values{"hour": {Double: []float64{hour}}},
	})
	if err == nil && len(res.GetScores()) != hopItems {
		err = fmt.Errorf("%d scores", len(res.GetScores()))
	}
	return err
}

// fresh asks a model what nobody asked before.
func (b *cacheBench) fresh(model string) timed {
	return timed{model, func(ctx context.Context) error { return b.ask(ctx, model, b.next(), float64(b.hour.Add(1))/4) }}
}

// overheads measures the ranker with and without caches that hit nothing.
func (b *cacheBench) overheads(ctx context.Context, o HopOptions, r *CacheResult) error {
	began := time.Now()
	measure := func(what string, overhead *float64) error {
		fmt.Fprintf(o.Progress, "the ranker with and without caches in turn, nothing asked twice, caches %s, for %s\n", what, o.Duration)
		times, err := interleave(ctx, []timed{b.fresh("ranker"), b.fresh("cached")}, 50, o.Duration)
		if err != nil {
			return err
		}
		r.Plain = percentile(times[0], .5)
		*overhead = percentile(times[1], .5)/r.Plain - 1
		return nil
	}
	if err := measure("on", &r.Overhead); err != nil {
		return err
	}
	if err := b.until(ctx, untilOff, func(s caches) bool { return s.on == 0 }); err != nil {
		return err
	}
	r.SecondsToOff = time.Since(began).Seconds()
	if err := measure("off", &r.OverheadOff); err != nil {
		return err
	}
	rest, err := b.caches(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(o.Progress, "waiting until both caches are tried again")
	if err := b.until(ctx, untilTrying, func(s caches) bool { return s.rows > rest.rows && s.requests > rest.requests }); err != nil {
		return err
	}
	return measure("tried", &r.OverheadTry)
}

// caches is how many caches are on, and how many rows and requests were looked up in vain.
type caches struct{ on, rows, requests float64 }

// until asks what nobody asked before until the caches are as wanted.
func (b *cacheBench) until(ctx context.Context, most time.Duration, wanted func(caches) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, errors.New("the caches did not turn in time"))
	defer cancel()
	for {
		for range 100 {
			if err := b.fresh("cached").do(ctx); err != nil {
				return errors.Join(err, context.Cause(ctx))
			}
		}
		if s, err := b.caches(ctx); err != nil || wanted(s) {
			return err
		}
	}
}

// caches reads the service's metrics.
func (b *cacheBench) caches(ctx context.Context) (s caches, err error) {
	const on, total = "onehop_prediction_cache_on", "onehop_prediction_cache_total"
	found, err := scrape(ctx, b.admin, on, total)
	if err != nil {
		return s, err
	}
	for _, of := range found[on] {
		if of.labels["model"] == "cached" {
			s.on += of.value
		}
	}
	for _, of := range found[total] {
		switch {
		case of.labels["model"] != "cached" || of.labels["outcome"] != "miss":
		case of.labels["kind"] == "exact":
			s.rows = of.value
		default:
			s.requests = of.value
		}
	}
	return s, nil
}

// speedups measures the slow model, asked anew and again.
func (b *cacheBench) speedups(ctx context.Context, o HopOptions, r *CacheResult) error {
	fmt.Fprintf(o.Progress, "a model of a second: %d calls, then the same again for %s by each cache\n", slowCalls, o.Duration)
	var times []time.Duration
	for range slowCalls {
		before := time.Now()
		if err := b.fresh("slow").do(ctx); err != nil {
			return err
		}
		times = append(times, time.Since(before))
	}
	d := b.next()
	again := func(model string) timed {
		return timed{model, func(ctx context.Context) error { return b.ask(ctx, model, d, 1) }}
	}
	cached, err := interleave(ctx, []timed{again("slow_request")}, 50, o.Duration)
	if err != nil {
		return err
	}
	exact, err := interleave(ctx, []timed{again("slow_exact")}, 50, o.Duration)
	if err != nil {
		return err
	}
	r.Uncached = percentile(times, .5) / 1e3
	r.Cached, r.CachedP99, r.Exact = percentile(cached[0], .5), percentile(cached[0], .99), percentile(exact[0], .5)
	r.Speedup, r.SpeedupBy = 1e3*r.Uncached/r.Cached, 1e3*r.Uncached/r.Exact
	return nil
}

// slowModel is a network that takes about a second for the candidates of a call on this machine: a wide layer, and as many sines of all its
// values as that takes.
func slowModel(ctx context.Context, o HopOptions) (m hopModel, err error) {
	library, err := onnx.FindLibrary(o.Library)
	if err != nil {
		return m, err
	}
	rt, err := onnx.Open(library)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	const tried = 100
	session, err := rt.LoadBytes("slow", sines(tried), onnx.Options{})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	batch, err := session.NewBatch(hopItems)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, batch.Close()) }()
	var took time.Duration
	for range 3 {
		start := time.Now()
		if err := batch.Run(ctx, hopItems); err != nil {
			return m, err
		}
		took = time.Since(start)
	}
	layers := int(tried * slowTakes / max(took, time.Millisecond))
	fmt.Fprintf(o.Progress, "the slow model has %d layers\n", layers)
	return hopModel{name: "slow", artifact: sines(layers)}, nil
}

// sines is a graph of so many sines between two layers.
func sines(n int) []byte {
	weights := func(count int, scale float32) []float32 {
		w := make([]float32, count)
		for i := range w {
			w[i] = scale * float32(i%17-8)
		}
		return w
	}
	g := onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: onnxtest.InputName, Type: onnxtest.Float32, Shape: []int64{-1, hopColumns}}},
		Outputs: []onnxtest.Value{{Name: onnxtest.OutputName, Type: onnxtest.Float32, Shape: []int64{-1, 1}}},
		Weights: []onnxtest.Weight{
			{Name: "in", Shape: []int64{hopColumns, slowWidth}, Data: weights(hopColumns*slowWidth, .01)},
			{Name: "out", Shape: []int64{slowWidth, 1}, Data: weights(slowWidth, .001)},
		},
		Nodes: []onnxtest.Node{{Op: "MatMul", Inputs: []string{onnxtest.InputName, "in"}, Outputs: []string{"h0"}}},
	}
	for i := range n {
		g.Nodes = append(g.Nodes, onnxtest.Node{Op: "Sin", Inputs: []string{fmt.Sprintf("h%d", i)}, Outputs: []string{fmt.Sprintf("h%d", i+1)}})
	}
	g.Nodes = append(g.Nodes, onnxtest.Node{Op: "MatMul", Inputs: []string{fmt.Sprintf("h%d", n), "out"}, Outputs: []string{onnxtest.OutputName}})
	return g.Bytes()
}

// Write prints the result for a person.
func (r *CacheResult) Write(w io.Writer) {
	us := func(v float64) string { return fmt.Sprintf("%.0f µs", v) }
	percent := func(v float64) string { return fmt.Sprintf("%+.1f %%", 100*v) }
	fmt.Fprintf(w, "whole calls over HTTP, 1 user + %d items\n\n", hopItems)
	table(w, [][]string{
		{"a slow model", "p50", "faster"},
		{"  without a cache", fmt.Sprintf("%.0f ms", r.Uncached)},
		{"  again, by request", us(r.Cached), fmt.Sprintf("%.0f ×", r.Speedup)},
		{"  again, exact", us(r.Exact), fmt.Sprintf("%.0f ×", r.SpeedupBy)},
		{"the ranker, nothing twice", us(r.Plain)},
		{"  caches on", percent(r.Overhead)},
		{"  caches off", percent(r.OverheadOff), fmt.Sprintf("after %.0f s", r.SecondsToOff)},
		{"  caches tried", percent(r.OverheadTry)},
	})
}
