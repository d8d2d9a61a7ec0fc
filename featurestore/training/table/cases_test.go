package table_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/cases"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/featurestore/training/table"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
)

var update = flag.Bool("update", false, "rewrite what the cases expect")

// trainingCase is one example of what a training set is. Definitions and events are written
// as in the cases of `onehop test`, spine and expected rows as CSV.
type trainingCase struct {
	Name      string        `yaml:"name"`
	Events    []cases.Event `yaml:"events"`
	Features  string        `yaml:"features"`
	Available bool          `yaml:"available"`
	Statuses  bool          `yaml:"statuses"`
	Spine     string        `yaml:"spine"`
	Expected  string        `yaml:"expected"`
}

// TestCases runs the files of testdata against Postgres.
func TestCases(t *testing.T) {
	names, err := filepath.Glob("../testdata/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range names {
		var list []trainingCase
		catalog, err := cases.LoadFile(name, &list)
		if err != nil {
			t.Error(err)
			continue
		}
		for i := range list {
			c := &list[i]
			t.Run(filepath.Base(name)+"/"+c.Name, func(t *testing.T) {
				got := c.run(t, catalog)
				if *update {
					c.rewrite(t, name, got)
				} else if diff := cmp.Diff(c.Expected, got); diff != "" {
					t.Errorf("run with -update to accept:\n%s", diff)
				}
			})
		}
	}
}

func (c *trainingCase) run(t *testing.T, catalog *featurestore.Catalog) string {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := migrations.Up(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	namespace := testenv.Namespace(t)
	events, err := cases.Decode(t.Context(), catalog, c.Events)
	if err != nil {
		t.Fatal(err)
	}
	for source, list := range events {
		store(t, pool, namespace, catalog, source, list)
	}
	snapshot, err := history.OpenSnapshot(t.Context(), pool, namespace, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close(t.Context())
	return c.join(t, catalog, snapshot)
}

// store writes events to history as ingest does, partition by partition.
func store(t *testing.T, pool *pgxpool.Pool, namespace string, catalog *featurestore.Catalog, source string, events []featurestore.Event) {
	t.Helper()
	var keys [][]string
	for _, view := range catalog.ViewsOf(source) {
		keys = append(keys, view.JoinFields)
	}
	to, err := history.Open(t.Context(), pool, namespace, catalog.Source(source), keys)
	if err != nil {
		t.Fatal(err)
	}
	partitions := map[int32][]featurestore.Event{}
	for i := range events {
		partitions[events[i].Partition] = append(partitions[events[i].Partition], events[i])
	}
	for _, partition := range slices.Sorted(maps.Keys(partitions)) {
		list := partitions[partition]
		w := to.NewWriter(ingest.PartitionID{Topic: featurestore.TopicID{1}, Partition: partition})
		end := list[len(list)-1].Offset + 1
		if _, err := w.Open(t.Context(), map[int32]ingest.Offsets{partition: {End: end}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Process(t.Context(), ingest.Batch{To: end, Events: list}, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *trainingCase) join(t *testing.T, catalog *featurestore.Catalog, h training.History) string {
	t.Helper()
	refs, err := plan.Expand(catalog, strings.Split(c.Features, ","))
	if err != nil {
		t.Fatal(err)
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(catalog, programs, refs)
	if err != nil {
		t.Fatal(err)
	}
	spine, err := files.Open(t.Context(), files.Std, strings.NewReader(c.Spine), table.Columns(p, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = spine.Close() }()
	tab, err := table.New(training.NewJoin(p, programs), spine.Schema(), table.Options{Available: c.Available, Statuses: c.Statuses})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := files.Create(files.Std, &out, tab.Schema())
	if err != nil {
		t.Fatal(err)
	}
	if err := tab.All(t.Context(), h, spine, w.Write, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// rewrite puts what was got in place of what was expected.
func (c *trainingCase) rewrite(t *testing.T, name, got string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	block := func(rows string) string {
		return "    expected: |\n      " + strings.ReplaceAll(strings.TrimSuffix(rows, "\n"), "\n", "\n      ") + "\n"
	}
	before, after, found := strings.Cut(string(text), "  - name: "+c.Name+"\n")
	if !found || !strings.Contains(after, block(c.Expected)) {
		t.Fatalf("%s: what is expected is not written as in the other cases", name)
	}
	after = strings.Replace(after, block(c.Expected), block(got), 1)
	if err := os.WriteFile(name, []byte(before+"  - name: "+c.Name+"\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
