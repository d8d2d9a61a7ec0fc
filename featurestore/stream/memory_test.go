package stream

import "testing"

// TestMemoryIsShared adds up what a consumer may hold by its own account, whatever it is
// given.
func TestMemoryIsShared(t *testing.T) {
	for _, memory := range []int{1 << 20, 16 << 20, 128 << 20, 4 << 30} {
		fetch, records := int(fetchWithin(memory)), recordsWithin(memory)
		if fetch < leastFetch || fetch > mostFetch || records < leastRecords {
			t.Errorf("%d bytes: a fetch of %d, batches of %d records", memory, fetch, records)
		}
		if fetch > leastFetch && records > leastRecords && 2*6*fetch+workers()*records*recordBytes > memory {
			t.Errorf("%d bytes: two fetches of %d unpacked and batches of %d records by %d workers do not fit", memory, fetch, records, workers())
		}
	}
	if fetchWithin(16<<20) >= fetchWithin(64<<20) || recordsWithin(64<<20) >= recordsWithin(256<<20) {
		t.Error("more memory changes nothing")
	}
}
