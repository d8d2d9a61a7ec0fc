// Package training joins features to spines: to rows of entity keys and times, it adds what
// an online read at each row's time would have said. It folds the events of history with
// the programs that ingest folds with, and reads with the readers that serve reads with;
// there is no second implementation of any feature. It does no I/O: the events come from a
// [History].
//
// A row at time t sees the events with event_time < t and, where only what was available
// is asked for, of these the ones whose record has a timestamp ≤ t. Both sets only grow
// with t, so the rows of an entity are answered in order of time while its events are
// folded once, in the order in which they come into sight.
package training
