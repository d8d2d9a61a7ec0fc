package chaos

import (
	"context"
	"time"
)

// Size is how much of a fault there is.
type Size struct {
	// Times counts repeats: kills, joins, pauses.
	Times int
	// Events to produce, at least.
	Events int
	// Within bounds the whole run.
	Within time.Duration
}

// Fault is one way to break things.
type Fault struct {
	Name string
	// What it does, and what it asserts beside the checker.
	What string
	// Short runs in CI, Full by hand. A short one without events is not run.
	Short, Full Size
	Dirt        Dirt
	// Race builds the services with the race detector.
	Race bool
	// Proxied lets the services reach the servers through proxies.
	Proxied bool
	// Run breaks things. When it returns, a running ingest must be able to drain.
	Run func(ctx context.Context, s *Stand) error
	// Parts to check afterwards; none means all.
	Parts []Part
}

// Faults is the table.
var Faults = []Fault{
	{
		Name: "kill", What: "SIGKILL of ingest at random moments, while it starts too",
		Short: Size{10, 200_000, 2 * time.Minute}, Full: Size{200, 5_000_000, 30 * time.Minute},
		Run: kill,
	},
}
