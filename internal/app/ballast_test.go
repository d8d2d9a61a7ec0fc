package app

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

// TestBallastMakesCollectionsRare: a heap of next to nothing may grow to twice the ballast before it is collected.
func TestBallastMakesCollectionsRare(t *testing.T) {
	goal := func() uint64 {
		runtime.GC()
		sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before := goal()
	var within uint64
	if err := WithBallast(func() error { within = goal(); return nil }); err != nil {
		t.Fatal(err)
	}
	if within < before+ballastBytes || within < 2*ballastBytes {
		t.Errorf("the heap is collected at %d bytes with the ballast, at %d without", within, before)
	}
	if after := goal(); after > within-ballastBytes {
		t.Errorf("the heap is collected at %d bytes when the ballast is gone", after)
	}
}
