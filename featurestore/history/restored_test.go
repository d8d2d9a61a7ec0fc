package history

import (
	"errors"
	"testing"

	"github.com/onehop/onehop/featurestore/ingest"
)

// TestPostgresThatCameBackFromABackup: rows and offsets are those of the backup. The writer
// finds out at its next batch and catches up from Kafka, every record once; where Kafka no
// longer has what is missing, it says so and goes no further.
func TestPostgresThatCameBackFromABackup(t *testing.T) {
	table, pool := open(t)
	all := events(120)
	w := table.NewWriter(id)
	if _, err := w.Open(t.Context(), logs); err != nil {
		t.Fatal(err)
	}
	if err := w.Process(t.Context(), ingest.Batch{To: 100, Events: all[:100]}, 0); err != nil {
		t.Fatal(err)
	}
	snapshotBefore := snapshot(t, pool, table, nil).Offsets()
	for _, restore := range []string{
		"DELETE FROM " + table.name() + " WHERE kafka_offset >= 60",
		"UPDATE onehop.offsets SET next = 60 WHERE namespace = '" + table.namespace + "'",
	} {
		if _, err := pool.Exec(t.Context(), restore); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Process(t.Context(), ingest.Batch{From: 100, To: 120, Events: all[100:]}, 0); !errors.Is(err, ingest.ErrLost) {
		t.Fatalf("the next batch: %v", err)
	}
	if s, err := OpenSnapshot(t.Context(), pool, table.namespace, snapshotBefore); err == nil {
		s.Close(t.Context())
		t.Error("a training set that was begun before goes on with less")
	}
	if _, err := w.Open(t.Context(), map[int32]ingest.Offsets{2: {Start: 80, End: 120}}); !errors.Is(err, ingest.ErrGone) {
		t.Errorf("Kafka begins at 80: %v", err)
	}
	from, err := w.Open(t.Context(), logs)
	if err != nil || from != 60 {
		t.Fatalf("it goes on at %d, %v; want 60", from, err)
	}
	if err := w.Process(t.Context(), ingest.Batch{From: 60, To: 120, Events: all[60:]}, 0); err != nil {
		t.Fatal(err)
	}
	if got := count(t, pool, table, "true"); got != 120 {
		t.Errorf("%d rows, want 120", got)
	}
}
