package chaos

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/ingest"
)

// stem begins the keys of a generation, and tag those of one of its buckets; package
// online documents the form.
func stem(v *ingest.View) string {
	return "{" + v.Namespace + ":" + v.Name + "@" + strconv.Itoa(v.Generation)
}

func tag(v *ingest.View, bucket int) string { return stem(v) + "/" + strconv.Itoa(bucket) + "}" }

func rowKey(v *ingest.View, key string) string {
	return tag(v, featurestore.Bucket([]byte(key))) + ":" + key
}

// checkRows compares every row of every view, and looks for keys that should not be there.
func (c *Checker) checkRows(ctx context.Context, t *truth, views []*ingest.View, log *Log, report *Report) error {
	known := map[string]bool{}
	for _, v := range views {
		marks, err := c.watermarks(ctx, v)
		if err != nil {
			return err
		}
		checkMarks(v, marks, log, report)
		for _, marker := range c.markers(v) {
			if live, err := c.Redis.Get(ctx, marker).Result(); live != "live" {
				report.problemf(&report.Wrong, 1, "view %s: the marker %q is %q, not live (%v)", v.Name, marker, live, err)
			}
			known[marker] = true
		}
		for b := range marks {
			known[tag(v, b)+"#watermarks"] = true
		}
		for keys := range slices.Chunk(slices.Collect(maps.Keys(t.entities[v.Name])), 500) {
			for _, key := range keys {
				known[rowKey(v, key)] = true
			}
			if err := c.compare(ctx, t, v, marks, keys, report); err != nil {
				return err
			}
		}
	}
	return c.strangers(ctx, t, known, report)
}

// markers are the keys that say whether rows may be served: one of a generation, or on a
// cluster one of each bucket.
func (c *Checker) markers(v *ingest.View) []string {
	if _, cluster := c.Redis.(*redis.ClusterClient); !cluster {
		return []string{stem(v) + "}#live"}
	}
	keys := make([]string, featurestore.Buckets)
	for b := range keys {
		keys[b] = tag(v, b) + "#live"
	}
	return keys
}

// live says whether all rows of a view may be served.
func (c *Checker) live(ctx context.Context, v *ingest.View) bool {
	rows, err := c.get(ctx, c.markers(v))
	return err == nil && !slices.ContainsFunc(rows, func(marker string) bool { return marker != "live" })
}

// get reads keys of any slots, "" for those that are not there.
func (c *Checker) get(ctx context.Context, keys []string) ([]string, error) {
	values := make([]string, len(keys))
	cmds := make([]*redis.StringCmd, len(keys))
	_, err := c.Redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, key := range keys {
			cmds[i] = pipe.Get(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	for i, cmd := range cmds {
		if values[i], err = cmd.Result(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
	}
	return values, nil
}

// watermarks reads those of every bucket.
func (c *Checker) watermarks(ctx context.Context, v *ingest.View) ([]map[partitionID]int64, error) {
	hashes := make([]*redis.MapStringStringCmd, featurestore.Buckets)
	_, err := c.Redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for b := range hashes {
			hashes[b] = pipe.HGetAll(ctx, tag(v, b)+"#watermarks")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading watermarks: %w", err)
	}
	marks := make([]map[partitionID]int64, len(hashes))
	for b, hash := range hashes {
		marks[b] = map[partitionID]int64{}
		for name, text := range hash.Val() {
			var id partitionID
			hexID, number, _ := strings.Cut(name, ":")
			partition, err1 := strconv.ParseInt(number, 10, 32)
			next, err2 := strconv.ParseInt(text, 10, 64)
			_, err3 := hex.Decode(id.topic[:], []byte(hexID[:min(len(hexID), 2*len(id.topic))]))
			if err := errors.Join(err1, err2, err3); err != nil {
				return nil, fmt.Errorf("bucket %d: watermark %s = %s: %w", b, name, text, err)
			}
			id.partition = int32(partition)
			marks[b][id] = next
		}
	}
	return marks, nil
}

// checkMarks says which buckets do not stand at the end of the log.
func checkMarks(v *ingest.View, marks []map[partitionID]int64, log *Log, report *Report) {
	for b := range marks {
		for partition, o := range log.Offsets {
			if next, ok := marks[b][partitionID{log.ID, partition}]; !ok || next != o.End {
				report.problemf(&report.Wrong, 1, "view %s, bucket %d, partition %d: the watermark is %d (there: %v), the log ends at %d",
					v.Name, b, partition, next, ok, o.End)
			}
		}
	}
}

// compare compares the rows of some entities.
func (c *Checker) compare(ctx context.Context, t *truth, v *ingest.View, marks []map[partitionID]int64, keys []string, report *Report) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = rowKey(v, key)
	}
	rows, err := c.get(ctx, names)
	if err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	for i, key := range keys {
		want, err := t.row(ctx, v, key, marks[featurestore.Bucket([]byte(key))])
		if err != nil {
			return err
		}
		report.Rows++
		judge(v, key, want, []byte(rows[i]), report)
	}
	return nil
}

// judge compares one row.
func judge(v *ingest.View, key string, want expected, got []byte, report *Report) {
	name := v.Name + " " + featurestore.KeyText([]byte(key))
	switch {
	case bytes.Equal(want.row, got):
		return
	case len(got) == 0:
		report.problemf(&report.Lost, want.events, "%s: no row, want one of %d events", name, want.events)
		return
	}
	have, err := v.Program.Inspect(got)
	if err != nil {
		report.problemf(&report.Wrong, 1, "%s: the row cannot be read: %v", name, err)
		return
	}
	n := countOf(have)
	switch {
	case n < want.events:
		report.problemf(&report.Lost, want.events-n, "%s: %d of %d events", name, n, want.events)
	case n > want.events:
		report.problemf(&report.Doubled, n-want.events, "%s: %d events, want %d", name, n, want.events)
	default:
		if should, err := v.Program.Inspect(want.row); err != nil || v.Name != approximateView || !nearly(have, should, 1e-12*want.weight) {
			report.problemf(&report.Wrong, 1, "%s: the row is another, with as many events (%d)", name, n)
		}
	}
}

// countOf is the number of events in a row: its count over a lifetime.
func countOf(in *fold.Inspection) int {
	for _, set := range in.Tiles {
		if at := slices.Index(set.Partials, "count"); set.Hop == 0 && at >= 0 && len(set.Tiles) == 1 {
			return int(set.Tiles[0].Values[at].Int())
		}
	}
	return -1
}

// nearly says whether two rows are equal but for floats that differ by no more than slack.
func nearly(a, b *fold.Inspection, slack float64) bool {
	if a.Newest != b.Newest || a.Fingerprint != b.Fingerprint || !reflect.DeepEqual(a.Kept, b.Kept) || len(a.Tiles) != len(b.Tiles) {
		return false
	}
	equal := func(x, y featurestore.Value) bool {
		if x.Type == featurestore.Float64 && y.Type == featurestore.Float64 {
			return math.Abs(x.Float()-y.Float()) <= slack
		}
		return x.Equal(y)
	}
	return slices.EqualFunc(a.Tiles, b.Tiles, func(s, u fold.TilesInspection) bool {
		return s.Hop == u.Hop && slices.EqualFunc(s.Tiles, u.Tiles, func(x, y fold.TileInspection) bool {
			return x.Start == y.Start && slices.EqualFunc(x.Values, y.Values, equal)
		})
	})
}

// strangers looks for keys of the namespace that nothing accounts for, and for a row of each
// entity that was not sampled.
func (c *Checker) strangers(ctx context.Context, t *truth, known map[string]bool, report *Report) error {
	var mu sync.Mutex // masters are scanned side by side
	scan := func(ctx context.Context, client *redis.Client) error {
		keys := client.Scan(ctx, 0, "{"+c.Namespace+":*", 5000).Iterator()
		for keys.Next(ctx) {
			mu.Lock()
			if key := keys.Val(); !known[key] && !t.other(key) {
				report.problemf(&report.Wrong, 1, "the key %q should not be there", key)
			}
			mu.Unlock()
		}
		return keys.Err()
	}
	var err error
	switch client := c.Redis.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, scan)
	case *redis.Client:
		err = scan(ctx, client)
	}
	if err != nil {
		return fmt.Errorf("scanning Redis: %w", err)
	}
	for view, others := range t.others {
		for _, seen := range others {
			if !seen {
				report.problemf(&report.Lost, 1, "%s: an entity that was not sampled has no row", view)
			}
		}
	}
	return nil
}

// other says whether a key is that of a row of an entity that was not sampled.
func (t *truth) other(key string) bool {
	for _, v := range t.views {
		_, entity, found := strings.Cut(key, "}:")
		if !found || key != rowKey(v, entity) {
			continue
		}
		hash, sampled := t.sample.has([]byte(entity))
		if _, is := t.others[v.Name][hash]; is && !sampled {
			t.others[v.Name][hash] = true
			return true
		}
	}
	return false
}
