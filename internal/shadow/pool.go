package shadow

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of what waits, and of a run.
const (
	queueJobs = 64
	// MaxRequest is the size in bytes up to which a request is taken.
	MaxRequest = 1 << 20
	deadline   = time.Second
)

// Job is one request to answer once more.
type Job struct {
	Model string
	// Version is the shadow's.
	Version int64
	// Size is that of the request in bytes.
	Size int
	// Served are the scores that were answered, in the order of the request. The pool owns them.
	Served []float32
	// Run gives the scores of the shadow in the same order.
	Run func(context.Context) ([]float32, error)
}

// Pool runs jobs, one at a time: the callers' requests need the processors more. A nil Pool takes none. It is safe for
// concurrent use.
type Pool struct {
	log     *slog.Logger
	queue   chan Job
	stop    context.CancelFunc
	stopped chan struct{}

	requests        *prometheus.CounterVec
	sameBest        *prometheus.CounterVec
	difference      *prometheus.HistogramVec
	rankCorrelation *prometheus.HistogramVec
}

// The outcomes of a job.
const (
	compared = "compared"
	failed   = "failed"  // the shadow did not answer, or not in time
	dropped  = "dropped" // there are more than can be run, or the request is too large
)

// Start begins a pool; the caller closes it.
func Start(ctx context.Context, registry prometheus.Registerer, log *slog.Logger) *Pool {
	p := &Pool{
		log: log, queue: make(chan Job, queueJobs), stopped: make(chan struct{}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_shadow_requests_total", Help: "Requests for a version in the shadow, by outcome: compared, failed or dropped.",
		}, []string{"model", "version", "outcome"}),
		sameBest: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onehop_shadow_same_best_total", Help: "Compared requests whose best candidate is the same in the shadow.",
		}, []string{"model", "version"}),
		difference: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onehop_shadow_score_difference", Help: "Mean absolute difference between the scores of a request and those of the shadow.",
			Buckets: []float64{1e-6, 1e-5, 1e-4, 1e-3, .01, .02, .05, .1, .2, .5, 1, 10},
		}, []string{"model", "version"}),
		rankCorrelation: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onehop_shadow_rank_correlation", Help: "Spearman's rank correlation between the scores of a request and those of the shadow.",
			Buckets: []float64{-.5, 0, .5, .7, .8, .9, .95, .98, .99, .999, 1},
		}, []string{"model", "version"}),
	}
	registry.MustRegister(p.requests, p.sameBest, p.difference, p.rankCorrelation)
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx)) // until Close: requests end after the signal
	go p.run(ctx)
	return p
}

// Put takes a job. It does not wait.
func (p *Pool) Put(j Job) {
	if p == nil {
		return
	}
	if j.Size <= MaxRequest {
		select {
		case p.queue <- j:
			return
		default:
		}
	}
	p.count(&j, dropped)
}

func (p *Pool) count(j *Job, outcome string) {
	p.requests.WithLabelValues(j.Model, strconv.FormatInt(j.Version, 10), outcome).Inc()
}

func (p *Pool) run(ctx context.Context) {
	defer close(p.stopped)
	for {
		select {
		case j := <-p.queue:
			p.do(ctx, &j)
		case <-ctx.Done():
			return
		}
	}
}

func (p *Pool) do(ctx context.Context, j *Job) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	scores, err := j.Run(ctx)
	var d Divergence
	if err == nil {
		d, err = Compare(j.Served, scores)
	}
	if err != nil {
		p.count(j, failed)
		p.log.Debug("a version in the shadow did not answer", "model", j.Model, "version", j.Version, "error", err)
		return
	}
	p.count(j, compared)
	version := strconv.FormatInt(j.Version, 10)
	p.difference.WithLabelValues(j.Model, version).Observe(d.MeanAbsolute)
	if !math.IsNaN(d.RankCorrelation) {
		p.rankCorrelation.WithLabelValues(j.Model, version).Observe(d.RankCorrelation)
	}
	if d.SameBest {
		p.sameBest.WithLabelValues(j.Model, version).Inc()
	}
}

// Close ends the run under way and drops what waits. Nothing may be put any more.
func (p *Pool) Close() {
	p.stop()
	<-p.stopped
	for {
		select {
		case j := <-p.queue:
			p.count(&j, dropped)
		default:
			return
		}
	}
}
