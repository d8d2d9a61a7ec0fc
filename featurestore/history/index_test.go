package history

import (
	"errors"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

func writeBehind(t *testing.T, table *Table, behind int64) {
	t.Helper()
	w := table.NewWriter(ingest.PartitionID{Topic: featurestore.TopicID{9}, Partition: 2})
	if _, err := w.Open(t.Context(), map[int32]ingest.Offsets{2: {End: 10 + behind}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Process(t.Context(), ingest.Batch{To: 10, Events: events(10)}, behind); err != nil {
		t.Fatal(err)
	}
}

func indexed(t *testing.T, table *Table) bool {
	t.Helper()
	ok, err := table.Indexed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// TestMonthsOfTheStreamAreIndexedAtOnce: history that keeps up is looked up all the time.
func TestMonthsOfTheStreamAreIndexedAtOnce(t *testing.T) {
	table, _ := open(t)
	writeBehind(t, table, farBehind)
	if !indexed(t, table) {
		t.Error("the months have no indexes")
	}
}

// TestMonthsFilledFarBehindAreIndexedLater: not before history has caught up, by one of
// those who try, and with what somebody left half made.
func TestMonthsFilledFarBehindAreIndexedLater(t *testing.T) {
	table, pool := open(t)
	writeBehind(t, table, farBehind+1)
	if indexed(t, table) || table.Unindexed() {
		t.Fatal("months were indexed, or are to be, while history is far behind")
	}
	table.progress.stand(2, farBehind)
	if !table.Unindexed() {
		t.Fatal("it is time for indexes")
	}
	if _, err := pool.Exec(t.Context(), "CREATE INDEX events_2026_01_by_key_id ON "+table.schema()+".events_2026_01 (f_id, event_time DESC)"); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass", table.schema()+".events_2026_01_by_key_id"); err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for range 4 {
		group.Go(func() error { return table.Index(t.Context()) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if !indexed(t, table) || table.Unindexed() {
		t.Error("the months still lack indexes")
	}
}

// TestAnotherKeyIsIndexedLater: a new view looks rows up by other fields.
func TestAnotherKeyIsIndexedLater(t *testing.T) {
	table, pool := open(t)
	writeBehind(t, table, 0)
	again, err := Open(t.Context(), pool, table.namespace, source(), [][]string{{"id"}, {"ok"}})
	if err != nil {
		t.Fatal(err)
	}
	if indexed(t, again) {
		t.Fatal("nobody has made the index yet")
	}
	writeBehind(t, again, 0)
	if !again.Unindexed() {
		t.Fatal("it is time for indexes")
	}
	if err := again.Index(t.Context()); err != nil || !indexed(t, again) {
		t.Errorf("the months still lack indexes: %v", err)
	}
}

// TestMonthsOfOthersAreIndexed: an import that failed leaves months without indexes, and who
// comes to one of them makes them.
func TestMonthsOfOthersAreIndexed(t *testing.T) {
	table, pool := open(t)
	if err := table.Index(t.Context()); err != nil || table.Unindexed() {
		t.Fatalf("there are no months, and one lacks indexes; %v", err)
	}
	importing, err := Open(t.Context(), pool, table.namespace, source(), table.keys)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("a bad row")
	err = importing.Import(t.Context(), func(i *Import) error {
		rows := importing.NewRows(featurestore.TopicID{5})
		for _, e := range events(10) {
			rows.Add(&e)
		}
		return errors.Join(i.Copy(t.Context(), rows), failed)
	})
	if !errors.Is(err, failed) || indexed(t, table) || count(t, pool, table, "true") != 0 {
		t.Fatal(err)
	}
	writeBehind(t, table, 0)
	if !table.Unindexed() {
		t.Fatal("it is time for indexes")
	}
	if err := table.Index(t.Context()); err != nil || !indexed(t, table) {
		t.Errorf("the months still lack indexes: %v", err)
	}
}
