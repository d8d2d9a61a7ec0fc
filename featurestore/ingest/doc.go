// Package ingest is the exactly-once protocol that turns batches of events into
// rows, as a state machine that needs no server to be tested.
//
// The invariant, for every bucket of every generation:
//
//	the rows of the bucket are exactly the fold of all events of partition p with
//	offset below its watermark[p], for each p.
//
// A [Partition] follows one partition of one topic. [Partition.Open] asks the store
// where each bucket stands and says from which offset to read;
// [Partition.Process] folds a batch and commits it bucket by bucket;
// [Partition.Heartbeat] moves the watermarks of buckets that had no events. A store
// keeps its promises by writing a [Commit] whole or not at all: see [Store].
//
// From the invariant follows that replay is free (events below a watermark are
// skipped), that a writer which lost its partition without knowing does no harm, and
// that the store carries its own recovery point: if it loses rows it loses their
// watermarks with them, and the partition is read again from there.
package ingest
