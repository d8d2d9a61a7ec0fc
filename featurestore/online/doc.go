// Package online keeps rows and watermarks in Redis: it implements ingest.Store for
// writing and the reads of serve and infer.
//
// # Keys
//
//	{namespace:view@generation/bucket}:entity key     a packed row (string)
//	{namespace:view@generation/bucket}#watermarks     topic id:partition → next offset (hash)
//	marker#live                                       "live" or "filling" (string)
//	marker#fill                                       topic id:partition → target offset (hash)
//
// The braces are the cluster's hash tag, so that one bucket lives in one slot and one
// Lua script can write its rows and move its watermark as one. On a standalone server
// there is one marker for a generation, {namespace:view@generation}; on a cluster, whose
// shards can be lost one by one, each bucket has its own.
//
// Redis must not evict: [Open] refuses a server whose maxmemory-policy is not
// noeviction.
package online
