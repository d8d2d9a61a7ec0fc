package stream

import "runtime"

// What a consumer holds at a time does not depend on how much waits in Kafka: of each broker
// one fetch that is being processed and the next one, and the batches in work.
const (
	// fetchShare of the memory is one fetch, as it comes over the wire: two of them, five or
	// six times as large when they are unpacked records, take a third.
	fetchShare = 32
	// recordBytes is what a record of a batch takes when it is decoded, and its row loaded,
	// folded and written: about a kilobyte where each record has a row of its own.
	recordBytes = 1 << 10
	// leastFetch and leastRecords keep the service at work with whatever memory.
	leastFetch, mostFetch = 256 << 10, 16 << 20
	leastRecords          = 500
)

// workers is how many partitions are processed side by side.
func workers() int { return 2 * runtime.GOMAXPROCS(0) }

// fetchWithin is the size of a fetch.
func fetchWithin(memory int) int32 { return int32(min(max(memory/fetchShare, leastFetch), mostFetch)) }

// recordsWithin is how many records a batch may have when all workers have one: together
// they take half of the memory.
func recordsWithin(memory int) int { return max(leastRecords, memory/2/recordBytes/workers()) }
