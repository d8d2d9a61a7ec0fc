package rpc

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

// load asks at a steady rate from as many callers, until stop is closed, and gives the latency of each answer; a
// request whose time has passed is sent at once, and its wait counts.
func (s *shop) load(callers int, every time.Duration, stop <-chan struct{}) (latencies []time.Duration, failed int64) {
	var all sync.Mutex
	var failures atomic.Int64
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			var own []time.Duration
			next := time.Now().Add(every * time.Duration(caller) / time.Duration(callers))
			timer := time.NewTimer(time.Until(next))
			defer timer.Stop()
			for {
				select {
				case <-stop:
					all.Lock()
					latencies = append(latencies, own...)
					all.Unlock()
					return
				case <-timer.C:
				}
				if _, err := s.client.GetFeaturesAndPredict(s.t.Context(), ask(int64(caller))); err != nil {
					if failures.Add(1) == 1 {
						s.t.Errorf("a request failed: %v", err)
					}
				}
				own = append(own, time.Since(next))
				next = next.Add(every)
				timer.Reset(time.Until(next))
			}
		})
	}
	group.Wait()
	return latencies, failures.Load()
}

// during loads while work goes on.
func (s *shop) during(every time.Duration, work func()) (answers []time.Duration, failed int64) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		answers, failed = s.load(4, every, stop)
	}()
	work()
	close(stop)
	<-done
	return answers, failed
}

func p99(latencies []time.Duration) time.Duration {
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100]
}

// TestReloadsUnderLoad replaces the version that is served a hundred times while it is asked at half of the peak rate: no
// request fails, and each model that was replaced is closed. The latencies are told, not judged: the machine may have
// other work.
func TestReloadsUnderLoad(t *testing.T) {
	s := newShop(t)
	hold := func(d time.Duration) func() { return func() { <-time.After(d) } }
	peak, failed := s.during(0, hold(time.Second))
	every := 2 * 4 * time.Second / time.Duration(len(peak)) // four callers, half the rate
	steady, failedSteady := s.during(every, hold(3*time.Second))
	const reloads = 100
	var last string
	reloading, failedReloading := s.during(every, func() {
		for i := range reloads {
			s.put("1/model.onnx", onnxtest.MLP([]int{4, 8, 1}, uint64(1000+i)))
			s.look()
			m := s.service.Models.Models()[0]
			if m.Problem != nil || m.SHA256 == last {
				t.Errorf("reload %d: %v", i, m.Problem)
			}
			last = m.SHA256
			<-time.After(20 * time.Millisecond)
		}
	})
	if all := failed + failedSteady + failedReloading; all > 0 {
		t.Errorf("%d requests failed", all)
	}
	t.Logf("peak %d/s; at half of it p99 %s steady (%d requests), %s through %d reloads (%d requests)",
		len(peak), p99(steady), len(steady), p99(reloading), reloads, len(reloading))
}
