// Package chaos proves the promise of exactly-once effects against real servers. It runs
// the services as processes, breaks them and their servers by a table of [Faults], and
// then recomputes every row from the topic itself and compares.
//
//   - log.go, expect.go: the topic read back, and what it says must be there
//   - check*.go: the comparison with Redis, Postgres and the dead letters
//   - world.go, stand.go, process.go, proxy.go, feed.go: servers, processes, the network
//     between them, and the events
//   - cluster.go, membership.go, watch.go: several brokers and masters, members that come
//     and go, and how long events of each partition wait meanwhile
//   - faults.go, fault_*.go: the table, and what each fault does
//   - run.go, summary.go: one run of a fault, and the table that people read
//
// The checker shares with the product the decoder and the fold, which have oracles of
// their own, and nothing of the protocol: it derives keys from their documented form and
// folds the events of an entity in one go.
package chaos
