package online

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore/ingest/storetest"
)

// nearby is a store with a near cache, whose clock and Redis the test holds.
type nearby struct {
	t        *testing.T
	redis    *miniredis.Miniredis
	store    *Store
	near     *Near
	view     *View
	registry *prometheus.Registry
	clock    atomic.Int64
	commands atomic.Int64
	gate     sync.RWMutex // held while Redis is to wait
	takes    atomic.Int64 // that a command takes, on the clock
}

func (n *nearby) DialHook(next redis.DialHook) redis.DialHook { return next }
func (n *nearby) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook counts commands, which wait at the gate.
func (n *nearby) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		n.commands.Add(1)
		n.gate.RLock()
		defer n.gate.RUnlock()
		n.pass(time.Duration(n.takes.Load()))
		return next(ctx, cmd)
	}
}

func newNearby(t *testing.T) *nearby {
	t.Helper()
	n := &nearby{t: t, redis: miniredis.RunT(t), registry: prometheus.NewRegistry()}
	client := redis.NewClient(&redis.Options{Addr: n.redis.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, DialTimeout: time.Second, Dialer: (&net.Dialer{}).DialContext})
	t.Cleanup(func() { _ = client.Close() })
	var err error
	if n.store, err = Open(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	client.AddHook(n)
	view, err := storetest.View("near")
	if err != nil {
		t.Fatal(err)
	}
	view.NearCache = time.Second
	n.view = NewView(view.Namespace, view.View)
	n.clock.Store(time.Now().UnixNano())
	n.near = n.store.StartNear(t.Context(), 1<<20, n.registry)
	n.near.now = func() time.Time { return time.Unix(0, n.clock.Load()) }
	t.Cleanup(n.near.Close)
	n.set("{near:"+strings.SplitN(n.view.prefix, ":", 2)[1]+"}#live", "live")
	return n
}

func (n *nearby) set(key, value string) {
	n.t.Helper()
	if err := n.redis.Set(key, value); err != nil {
		n.t.Fatal(err)
	}
}

func (n *nearby) write(key, row string) {
	n.t.Helper()
	n.set(rowKey(n.view.prefix, []byte(key)), row)
}

func (n *nearby) pass(d time.Duration) { n.clock.Add(int64(d)) }

// read reads some rows, joined by commas, nothing for a row that is not there, and with ! before old ones.
func (n *nearby) read(maxStale time.Duration, keys ...string) (rows string, age time.Duration, err error) {
	n.t.Helper()
	r := n.store.NewRead()
	defer r.Release()
	r.UseNear(maxStale)
	for _, key := range keys {
		r.Add(n.view, []byte(key))
	}
	if err := r.Do(n.t.Context()); err != nil {
		return "", 0, err
	}
	var all []string
	for i := range keys {
		text := string(r.Row(i))
		if r.Stale(i) {
			text = "!" + text
		}
		all = append(all, text)
	}
	return strings.Join(all, ","), r.Age(), nil
}

func (n *nearby) want(rows string, age time.Duration, commands int64, keys ...string) {
	n.t.Helper()
	before := n.commands.Load()
	got, gotAge, err := n.read(0, keys...)
	if err != nil || got != rows || gotAge != age || n.commands.Load()-before != commands {
		n.t.Errorf("read %q, %s old, by %d commands, %v; want %q, %s old, by %d", got, gotAge, n.commands.Load()-before, err, rows, age, commands)
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to pass within 5 s")
		}
	}
}

func TestNearCacheAnswersWithinItsBound(t *testing.T) {
	n := newNearby(t)
	n.write("a", "1")
	n.want("1,", 0, 1, "a", "b")
	n.write("a", "2")
	n.write("b", "3")
	n.pass(400 * time.Millisecond)
	n.want("1,,1", 400*time.Millisecond, 0, "a", "b", "a") // and what is not there is not asked for neither
	n.want("1,", 400*time.Millisecond, 1, "a", "c")        // of a row that is missing the others are no matter
	n.pass(601 * time.Millisecond)
	n.want("2,3", 0, 1, "a", "b")
	r := n.store.NewRead()
	defer r.Release()
	r.Add(n.view, []byte("a")) // without UseNear
	n.write("a", "4")
	if err := r.Do(t.Context()); err != nil || string(r.Row(0)) != "4" {
		t.Errorf("a read that uses no copies: %q, %v", r.Row(0), err)
	}
	if hits := testutil.ToFloat64(n.near.metrics.lookups.WithLabelValues("hit")); hits != 4 {
		t.Errorf("%v hits", hits)
	}
	if n.near.rows.WeightedSize() == 0 {
		t.Error("the cache has no size")
	}
}

func TestNearCacheIsRefreshedBeforeItIsTooOld(t *testing.T) {
	n := newNearby(t)
	n.write("a", "1")
	n.want("1", 0, 1, "a")
	n.write("a", "2")
	n.pass(600 * time.Millisecond)
	if got, age, err := n.read(0, "a"); err != nil || got != "1" || age != 600*time.Millisecond {
		t.Errorf("%q, %s, %v: the copy is given while it is read anew", got, age, err)
	}
	eventually(t, func() bool { got, age, err := n.read(0, "a"); return err == nil && got == "2" && age == 0 })
}

func TestNearCacheWhileRedisIsAway(t *testing.T) {
	n := newNearby(t)
	n.write("a", "1")
	n.want("1", 0, 1, "a")
	n.pass(10 * time.Second)
	n.redis.Close()
	if got, _, err := n.read(0, "a"); err == nil {
		t.Errorf("a caller who takes no old copies got %q", got)
	}
	if got, age, err := n.read(time.Minute, "a", "b"); err != nil || got != "!1,!" || age != 10*time.Second {
		t.Errorf("%q, %s old, %v; want the old copy, and of b that nothing is known", got, age, err)
	}
	if got, _, err := n.read(5*time.Second, "a"); err == nil {
		t.Errorf("a caller who takes copies of 5 s got %q", got)
	}
	if err := n.redis.Restart(); err != nil {
		t.Fatal(err)
	}
	if got, age, err := n.read(0, "a", "b"); err != nil || got != "1," || age != 0 {
		t.Errorf("when Redis is back: %q, %s old, %v", got, age, err)
	}
}

// TestCopiesAreAsOldAsTheAnswer: they grow older while Redis is waited for.
func TestCopiesAreAsOldAsTheAnswer(t *testing.T) {
	n := newNearby(t)
	n.write("a", "1")
	n.write("c", "3")
	start := n.clock.Load()
	n.want("1", 0, 1, "a")
	n.takes.Store(int64(2 * time.Second))
	n.pass(500 * time.Millisecond)
	if got, age, err := n.read(0, "a", "c"); err != nil || got != "1,3" || age != 2500*time.Millisecond {
		t.Errorf("%q, %s old, %v; want the copy, which was half a second old when c was asked for", got, age, err)
	}
	n.redis.Close() // it is asked twice
	if got, age, err := n.read(6*time.Second, "a", "c"); err != nil || got != "!,!3" || age != 6*time.Second {
		t.Errorf("%q, %s old, %v; want the copy of c alone, since that of a is half a second older", got, age, err)
	}
	n.pass(-4 * time.Second)
	if got, age, err := n.read(7*time.Second, "a"); err != nil || got != "!1" || age != 6500*time.Millisecond {
		t.Errorf("%q, %s old, %v; want the copy, which was 2.5 s old when Redis was asked", got, age, err)
	}
	n.clock.Store(start + int64(time.Second/2)) // when the copy of a was fresh
	if got, age, err := n.read(2*time.Second, "a", "b"); err == nil {
		t.Errorf("%q, %s old: the copy that was fresh at first is older than the caller takes", got, age)
	}
}

func TestNearCacheReadsARowOnce(t *testing.T) {
	n := newNearby(t)
	n.write("a", "1")
	n.gate.Lock()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if got, _, err := n.read(0, "a"); err != nil || got != "1" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	eventually(t, func() bool { return n.commands.Load() == 1 })
	n.gate.Unlock()
	all.Wait()
	if c := n.commands.Load(); c != 1 {
		t.Errorf("%d commands for one row", c)
	}
}

// TestNearCacheOfAReadThatIsGivenUp: who waits for its rows reads them itself.
func TestNearCacheOfAReadThatIsGivenUp(t *testing.T) {
	n := newNearby(t)
	n.write("a", "1")
	r := n.store.NewRead()
	r.UseNear(0)
	r.Add(n.view, []byte("a"))
	done := make(chan string, 1)
	go func() {
		got, _, _ := n.read(0, "a")
		done <- got
	}()
	r.Release()
	if got := <-done; got != "1" {
		t.Errorf("got %q", got)
	}
	if len(n.near.flights) != 0 {
		t.Errorf("%d reads are under way for good", len(n.near.flights))
	}
}

func TestNearCacheKeepsNothingOfAStoreThatIsFilled(t *testing.T) {
	n := newNearby(t)
	n.redis.FlushAll()
	r := n.store.NewRead()
	r.UseNear(0)
	r.Add(n.view, []byte("a"))
	if err := r.Do(t.Context()); err != nil || !r.Filling() {
		t.Errorf("filling %v, %v", r.Filling(), err)
	}
	r.Release()
	if size := n.near.rows.EstimatedSize(); size != 0 {
		t.Errorf("%d rows are kept", size)
	}
}

func TestNearCacheIsBounded(t *testing.T) {
	n := newNearby(t)
	row := strings.Repeat("x", 10_000)
	for i := range 500 {
		key := string(rune('a'+i%26)) + strings.Repeat("k", i/26)
		n.write(key, row)
		if _, _, err := n.read(0, key); err != nil {
			t.Fatal(err)
		}
	}
	n.near.rows.CleanUp()
	if size := n.near.rows.WeightedSize(); size > 1<<20 || size < 1<<19 {
		t.Errorf("%d bytes of 1 MiB", size)
	}
}
