package app

import "runtime"

// ballastBytes is how much a service's heap counts for more than it has.
const ballastBytes = 16 << 20

// WithBallast runs a service that answers within milliseconds beside memory that nobody touches, and that takes address space alone. Go
// collects garbage when the heap has doubled: that of such a service is small, and would double many times a second. The ballast
// makes that rarer, for as much memory as it counts, where a higher GOGC would take a multiple of a heap that is large.
func WithBallast(run func() error) error {
	ballast := make([]byte, ballastBytes)
	err := run()
	runtime.KeepAlive(ballast)
	return err
}
