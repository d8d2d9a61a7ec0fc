package online

import (
	"context"
	"time"
)

// until is a context with a deadline that nobody is woken by.
type until struct {
	context.Context //nolint:containedctx // it is one

	deadline time.Time
}

// Until gives a read by [Read.Do] a deadline, and takes no timer as context.WithDeadline does: the connection to Redis has one already. A
// read that waits for a connection, because all are in use, ends when ctx does or those end that have them, which is within [MaxRead].
// ctx has no earlier deadline.
func Until(ctx context.Context, deadline time.Time) context.Context {
	return until{Context: ctx, deadline: deadline}
}

// Deadline implements context.Context.
func (u until) Deadline() (time.Time, bool) { return u.deadline, true }
