package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Result is what became of one run of a fault.
type Result struct {
	Fault string `json:"fault"`
	Full  bool   `json:"full"`
	Seed  uint64 `json:"seed"`
	Times int    `json:"times"`
	Report
	// WorstResume is the longest that the service stood after what it needs was back, in
	// seconds; 0 where the fault does not measure it.
	WorstResume float64 `json:"worst_resume_seconds"`
	// Wall is the time of the whole run, in seconds.
	Wall float64 `json:"wall_seconds"`
	// Figures are what else the fault measured.
	Figures map[string]float64 `json:"figures,omitempty"`
	// Error says why the run failed, empty if it did not.
	Error string `json:"error,omitempty"`
}

// OK says that the run went as it must.
func (r *Result) OK() bool { return r.Error == "" && r.Report.OK() }

// Run runs a fault at its short or full size and checks what is left. What failed is in the
// result; say is told of the progress.
func Run(ctx context.Context, w *World, f *Fault, full bool, seed uint64, say func(format string, args ...any)) *Result {
	size := f.Short
	if full {
		size = f.Full
	}
	result := &Result{Fault: f.Name, Full: full, Seed: seed, Times: size.Times}
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, size.Within, fmt.Errorf("fault %s took more than %s", f.Name, size.Within))
	defer cancel()
	if err := run(ctx, w, f, size, result, say); err != nil {
		result.Error = err.Error()
	}
	result.Wall = time.Since(start).Seconds()
	return result
}

func run(ctx context.Context, w *World, f *Fault, size Size, result *Result, say func(string, ...any)) (err error) {
	s, err := newStand(ctx, w, f, size, result.Seed, say)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, s.logs())
		}
		result.WorstResume, result.Figures = s.worst.Seconds(), s.figures
		err = errors.Join(err, s.close(ctx))
	}()
	if err := f.Run(ctx, s); err != nil {
		return err
	}
	say("%d events produced; draining", s.Feed.sent.Load())
	if err := s.Drain(ctx); err != nil {
		return err
	}
	for _, p := range s.processes {
		p.Leave()
	}
	for _, p := range s.processes {
		if err := p.Left(ctx); err != nil {
			return err
		}
	}
	say("checking")
	report, err := s.checker.Check(ctx, s.before, f.Parts...)
	if report != nil {
		result.Report = *report
	}
	return errors.Join(err, s.slow)
}

// logs are the ends of the logs of all processes.
func (s *Stand) logs() string {
	var all strings.Builder
	for _, p := range s.processes {
		text, _ := p.log.read()
		fmt.Fprintf(&all, "--- %s, running: %v\n%s", p.name, p.running(), text)
	}
	return all.String()
}
