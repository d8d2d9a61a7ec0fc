// Package fold is the one implementation of what features mean:
//
//	state' = fold(state, event)        values = read(state, t)
//
// Ingest, serve, backfill, training sets and verify all call it, and nothing
// outside it knows what an aggregate, a tile or a window is. It is pure: no I/O, no
// clock, no randomness, no goroutines.
//
// [Compile] turns a feature view into a [Program]. A [State] is one row being
// folded; [Program.AppendRow] packs it and [Program.Decode] unpacks it. A [Reader]
// answers columns straight from packed rows.
//
// # The row
//
// All integers are little-endian; uvarint and varint are those of encoding/binary.
//
//	stamp        8 bytes   xxHash64 of everything after it
//	codec        1 byte    version of this layout, 1
//	fingerprint  8 bytes   hash of the definition and of the fold's version
//	newest       8 bytes   event time of the newest event, µs; then uvarint
//	                       partition, offset and index of that event
//	sections               one for each kept value (latest, last_n) and for each
//	                       tile set, in the program's order: uvarint length, bytes
//
// A tile set holds its tiles in columns, so that a window is read by running over
// a few contiguous bytes: uvarint number of tiles, uvarint index of the newest tile,
// the distance of each tile from the newest (1 or 2 bytes, oldest first), then one
// column for each partial aggregate, each in the narrowest encoding that is exact.
// Tiles without events are not there. Values of events stand in runs: see values.go.
package fold
