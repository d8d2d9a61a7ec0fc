package bench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// HopOptions configure [Hop].
type HopOptions struct {
	// Duration of each phase; 0 means 5 s.
	Duration time.Duration
	// Library is ONNX Runtime's shared library; empty for the usual places.
	Library string
	// Progress takes lines about what is being done.
	Progress io.Writer
}

// HopResult is what [Hop] measures. Times are in microseconds.
type HopResult struct {
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Floor   float64 `json:"floor_p50_us"`
	Ratio   float64 `json:"ratio_p50"`
	QPS     float64 `json:"qps_c16"`
	QPSBase float64 `json:"floor_qps_c16"`
	// A service that does the parts of the floor in one RPC and looks at no row.
	BareP50 float64 `json:"bare_hop_p50_us"`
	BareQPS float64 `json:"bare_hop_qps_c16"`
	// At half as many calls a second as 16 callers get.
	HalfP50 float64 `json:"half_load_p50_us"`
	HalfP99 float64 `json:"half_load_p99_us"`
	// Empty RPCs at the same rate: what the machine and the loopback add to the slowest calls, whatever they do.
	HalfEchoP50 float64 `json:"half_load_floor_echo_p50_us"`
	HalfEchoP99 float64 `json:"half_load_floor_echo_p99_us"`
	// Empty RPCs at half of what 16 callers get of them: the same question to a service that does nothing.
	EchoQPS     float64 `json:"floor_echo_qps_c16"`
	EchoHalfP50 float64 `json:"floor_echo_half_load_p50_us"`
	EchoHalfP99 float64 `json:"floor_echo_half_load_p99_us"`
	// With the near cache, 16 callers.
	NearQPS  float64 `json:"near_cache_qps_c16"`
	NearGain float64 `json:"near_cache_gain"`
	// The parts of the floor.
	EchoP50 float64 `json:"floor_echo_p50_us"`
	ReadP50 float64 `json:"floor_mget_p50_us"`
	RunP50  float64 `json:"floor_onnx_p50_us"`
	// The stages of the call as the service tells them.
	ReadStage     float64 `json:"stage_read_p50_us"`
	AssembleStage float64 `json:"stage_assemble_p50_us"`
	RunStage      float64 `json:"stage_run_p50_us"`
	// The share of the candidates' rows that the service had decoded before, while one caller called.
	Remembered float64 `json:"remembered_rows"`
	// What was read.
	Columns    int     `json:"columns"`
	Windows    int     `json:"window_columns"`
	Candidates int     `json:"candidates"`
	RowBytes   float64 `json:"row_bytes_mean"`
	Calls      int     `json:"calls"`
	Runtime    string  `json:"onnxruntime"`
}

// Hop measures GetFeaturesAndPredict over loopback: one user and 100 items, 64 columns of
// which 24 are window reads over up to 20 live tiles, a three-layer ranker. The floor is
// an empty Connect RPC with messages of the same sizes, one MGET of the same keys and
// one run of the same batch, each on its own and added up; for throughput the harmonic
// sum. What handing over from one to the other costs on a machine is told by a service that does the three and nothing else.
func Hop(ctx context.Context, o HopOptions) (*HopResult, error) {
	if o.Duration == 0 {
		o.Duration = 5 * time.Second
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	fmt.Fprintln(o.Progress, "starting Redis, Postgres and the inference service, and folding events into rows")
	h, err := startHop(ctx, o, hopRanker())
	if err != nil {
		return nil, err
	}
	defer h.stop()
	things := []timed{
		{"GetFeaturesAndPredict", h.call},
		{"empty RPC", h.echo},
		{"MGET", h.mget},
		{"ONNX run", h.runModel},
		{"all three in one RPC", h.callBare},
	}
	r := &HopResult{Columns: hopColumns, Windows: hopWindows, Candidates: hopItems, RowBytes: h.rowBytes, Runtime: h.runtimeVersion()}
	for _, phase := range []func(context.Context, HopOptions, []timed, *HopResult) error{h.oneCaller, h.manyCallers, h.halfLoad, h.nearCache} {
		if err := phase(ctx, o, things, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// oneCaller times calls and the parts of their floor in turn.
func (h *hopStack) oneCaller(ctx context.Context, o HopOptions, things []timed, r *HopResult) error {
	fmt.Fprintf(o.Progress, "one caller, interleaved with the floor, for %s\n", o.Duration)
	hits, misses, err := h.remembered(ctx)
	if err != nil {
		return err
	}
	h.stages = &stages{}
	times, err := interleave(ctx, things, 200, o.Duration)
	kept := h.stages
	h.stages = nil
	if err != nil {
		return err
	}
	hitsAfter, missesAfter, err := h.remembered(ctx)
	if err != nil {
		return err
	}
	hits, misses = hitsAfter-hits, missesAfter-misses
	r.Remembered, r.Calls = hits/max(1, hits+misses), len(times[0])
	r.P50, r.P99 = percentile(times[0], .5), percentile(times[0], .99)
	r.EchoP50, r.ReadP50, r.RunP50 = percentile(times[1], .5), percentile(times[2], .5), percentile(times[3], .5)
	r.BareP50 = percentile(times[4], .5)
	r.ReadStage, r.AssembleStage, r.RunStage = percentile(kept.read, .5), percentile(kept.assemble, .5), percentile(kept.run, .5)
	r.Floor = r.EchoP50 + r.ReadP50 + r.RunP50
	r.Ratio = r.P50 / r.Floor
	return nil
}

// manyCallers counts what 16 callers get, of calls and of each part of their floor, in turn.
func (h *hopStack) manyCallers(ctx context.Context, o HopOptions, things []timed, r *HopResult) error {
	fmt.Fprintf(o.Progress, "16 callers, interleaved with the floor, for %s\n", o.Duration*time.Duration(len(things))/2)
	qps, err := throughputs(ctx, things, 16, o.Duration/2)
	if err != nil {
		return err
	}
	r.QPS, r.EchoQPS, r.QPSBase = qps[0], qps[1], 1/(1/qps[1]+1/qps[2]+1/qps[3])
	r.BareQPS = qps[4]
	return nil
}

// halfLoad times calls at half of the rate that 16 callers got, as many empty ones, and empty ones at half of theirs.
func (h *hopStack) halfLoad(ctx context.Context, o HopOptions, things []timed, r *HopResult) error {
	for _, m := range []struct {
		thing    timed
		rate     float64
		p50, p99 *float64
	}{
		{things[0], r.QPS / 2, &r.HalfP50, &r.HalfP99},
		{things[1], r.QPS / 2, &r.HalfEchoP50, &r.HalfEchoP99},
		{things[1], r.EchoQPS / 2, &r.EchoHalfP50, &r.EchoHalfP99},
	} {
		fmt.Fprintf(o.Progress, "%s, %.0f a second, for %s\n", m.thing.name, m.rate, o.Duration)
		times, err := paced(ctx, m.thing, m.rate, o.Duration)
		if err != nil {
			return err
		}
		*m.p50, *m.p99 = percentile(times, .5), percentile(times, .99)
	}
	return nil
}

// nearCache counts what 16 callers get when nine of ten of their calls may use a warm near cache, in turn with calls that may not.
func (h *hopStack) nearCache(ctx context.Context, o HopOptions, things []timed, r *HopResult) error {
	fmt.Fprintf(o.Progress, "16 callers, of whose calls nine in ten find all rows in the near cache, interleaved with others, for %s\n", o.Duration)
	near := timed{"near cache", h.near}
	if _, err := throughput(ctx, near, 16, o.Duration/4); err != nil { // to warm it
		return err
	}
	qps, err := throughputs(ctx, []timed{near, things[0]}, 16, o.Duration/2)
	if err != nil {
		return err
	}
	r.NearQPS, r.NearGain = qps[0], qps[0]/qps[1]
	return nil
}

// Write prints the result for a person.
func (r *HopResult) Write(w io.Writer) {
	us := func(v float64) string { return fmt.Sprintf("%.0f µs", v) }
	fmt.Fprintf(w, "1 user + %d items, %d columns of which %d are windows, rows of %.0f bytes, ONNX Runtime %s, %d calls\n\n",
		r.Candidates, r.Columns, r.Windows, r.RowBytes, r.Runtime, r.Calls)
	table(w, [][]string{
		{"", "p50", "p99", "16 callers"},
		{"GetFeaturesAndPredict", us(r.P50), us(r.P99), fmt.Sprintf("%.0f/s", r.QPS)},
		{"floor", us(r.Floor), "", fmt.Sprintf("%.0f/s", r.QPSBase)},
		{"  empty RPC", us(r.EchoP50)},
		{"  MGET", us(r.ReadP50)},
		{"  ONNX run", us(r.RunP50)},
		{"  … in one RPC", us(r.BareP50), "", fmt.Sprintf("%.0f/s", r.BareQPS)},
		{"of the call: read", us(r.ReadStage)},
		{"  rows to input", us(r.AssembleStage), "", fmt.Sprintf("%.1f %% of them decoded before", 100*r.Remembered)},
		{"  model", us(r.RunStage)},
		{"  RPC, keys, order", us(r.P50 - r.ReadStage - r.AssembleStage - r.RunStage)},
		{"at half of that rate", us(r.HalfP50), us(r.HalfP99), fmt.Sprintf("p99 is %.1f times p50", r.HalfP99/r.HalfP50)},
		{"  empty RPCs as often", us(r.HalfEchoP50), us(r.HalfEchoP99), fmt.Sprintf("p99 is %.1f times p50", r.HalfEchoP99/r.HalfEchoP50)},
		{"  … at half of theirs", us(r.EchoHalfP50), us(r.EchoHalfP99), fmt.Sprintf("p99 is %.1f times p50, at %.0f/s", r.EchoHalfP99/r.EchoHalfP50, r.EchoQPS/2)},
		{"with the near cache", "", "", fmt.Sprintf("%.0f/s, %.2f times as many", r.NearQPS, r.NearGain)},
		{"ratio", fmt.Sprintf("%.2f", r.Ratio), "", fmt.Sprintf("%.2f", r.QPS/r.QPSBase)},
	})
}
