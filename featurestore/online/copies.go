package online

import (
	"bytes"
	"context"
	"time"
	"unsafe"
)

// copies is what a Read has to do with the near cache.
type copies struct {
	use      bool          // the cache is asked
	maxStale time.Duration // how old a copy may be where Redis does not answer; 0 for none
	now      int64         // in nanoseconds, when the read began
	key      []byte        // room for a cache key
	kept     []kept        // rows to be kept when they are there
	joined   []joined      // rows that others are reading
	hits     int
	oldest   time.Duration // age of the oldest copy that was taken
	stale    []bool        // of each row, when Redis did not answer
}

// kept is a row that this read fetches and keeps.
type kept struct {
	key    string
	row    int
	flight *flight // that others may wait for; nil for none
}

// joined is a row that another read fetches.
type joined struct {
	flight   *flight
	row      int
	view     *View
	key      []byte
	cacheKey string
}

// flight is a row that is being fetched.
type flight struct {
	done    chan struct{}
	row     []byte
	filling bool
	err     error
}

func (c *copies) reset() {
	clear(c.kept)
	clear(c.joined)
	*c = copies{key: c.key[:0], kept: c.kept[:0], joined: c.joined[:0]}
}

// UseNear lets the read take copies of rows from the near cache, where the store has one and the views allow it; it is called before
// Add. When Redis does not answer, copies up to maxStale old are taken too, if it is not 0: [Read.Stale] says which.
func (r *Read) UseNear(maxStale time.Duration) {
	if r.store.near == nil {
		return
	}
	r.copies.use, r.copies.maxStale, r.copies.now = true, maxStale, r.store.near.now().UnixNano()
}

// Age is how old the oldest copy is that was taken from the near cache; 0 when all rows are of now.
func (r *Read) Age() time.Duration { return r.copies.oldest }

// Stale says that Redis did not answer, and that the i-th row is an old copy, or not known at all.
func (r *Read) Stale(i int) bool { return r.copies.stale != nil && r.copies.stale[i] }

// addNear is Add for a view with a near cache.
func (r *Read) addNear(view *View, entityKey []byte) {
	c, n := &r.copies, r.store.near
	c.key = append(append(c.key[:0], view.prefix...), entityKey...)
	// The text is not changed while the string is in use.
	if found := n.find(view, unsafe.String(unsafe.SliceData(c.key), len(c.key)), entityKey, c.now); found != nil {
		c.hits++
		c.oldest = max(c.oldest, time.Duration(c.now-found.at))
		r.rows = append(r.rows, found.row)
		return
	}
	key := string(c.key)
	f, mine := n.board(key)
	if !mine {
		c.joined = append(c.joined, joined{flight: f, row: len(r.rows), view: view, key: bytes.Clone(entityKey), cacheKey: key})
		r.rows = append(r.rows, nil)
		return
	}
	c.kept = append(c.kept, kept{key: key, row: len(r.rows), flight: f})
	r.fetch(view, entityKey)
}

// keep keeps the rows that were fetched, and takes those that others fetched.
func (c *copies) keep(ctx context.Context, r *Read) error {
	if !c.use {
		return nil
	}
	n := r.store.near
	for i := range c.kept {
		k := &c.kept[i]
		row := bytes.Clone(r.rows[k.row])
		if !r.filling { // else what is missing may be there
			n.rows.Set(k.key, &copied{row: row, at: c.now})
		}
		n.land(k, row, r.filling, nil)
	}
	n.metrics.lookups.WithLabelValues("hit").Add(float64(c.hits))
	n.metrics.lookups.WithLabelValues("miss").Add(float64(len(r.rows) - c.hits))
	if err := c.join(ctx, r); err != nil || c.stale != nil { // which has settled it
		return err
	}
	c.grow(r)
	if c.hits > 0 {
		n.metrics.age.Observe(c.oldest.Seconds())
	}
	return nil
}

// join takes the rows that other reads fetched. What they did not get is fetched here: it may have been their callers who went away.
func (c *copies) join(ctx context.Context, r *Read) error {
	var again []joined
	for _, j := range c.joined {
		select {
		case <-j.flight.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if j.flight.err != nil {
			again = append(again, j)
			continue
		}
		r.rows[j.row], r.filling = j.flight.row, r.filling || j.flight.filling
	}
	if len(again) == 0 {
		return nil
	}
	own := r.store.NewRead()
	defer own.Release()
	for _, j := range again {
		own.fetch(j.view, j.key)
	}
	if err := own.Do(ctx); err != nil {
		return c.settle(r, err)
	}
	for i, j := range again {
		r.rows[j.row] = bytes.Clone(own.rows[i])
	}
	r.filling = r.filling || own.filling
	return nil
}

// settle ends a read for which Redis did not answer: by old copies, if the caller takes them and there is any.
func (c *copies) settle(r *Read, err error) error {
	if !c.use {
		return err
	}
	c.abandon(r, err)
	if c.maxStale == 0 {
		return err
	}
	c.grow(r)
	if c.oldest > c.maxStale || !c.takeOld(r) { // the fresh copies may have grown too old meanwhile
		return err
	}
	return nil
}

// grow counts the time since the read began: copies are as old as they are when it ends.
func (c *copies) grow(r *Read) {
	now := r.store.near.now().UnixNano()
	if c.hits > 0 {
		c.oldest += time.Duration(now - c.now)
	}
	c.now = now
}

// abandon tells those who wait for rows of this read that they do not come.
func (c *copies) abandon(r *Read, err error) {
	for i := range c.kept {
		r.store.near.land(&c.kept[i], nil, false, err)
	}
}

// takeOld takes the copies that there are and says whether there are any. The other rows are not known.
func (c *copies) takeOld(r *Read) bool {
	c.stale = make([]bool, len(r.rows))
	for _, at := range r.slots {
		c.stale[at] = true
	}
	found := c.hits
	take := func(key string, at int) {
		c.stale[at] = true
		old, ok := r.store.near.rows.GetIfPresent(key)
		if !ok {
			return
		}
		if age := time.Duration(c.now - old.at); age <= c.maxStale {
			r.rows[at], c.oldest = old.row, max(c.oldest, age)
			found++
		}
	}
	for _, k := range c.kept {
		take(k.key, k.row)
	}
	for _, j := range c.joined {
		take(j.cacheKey, j.row)
	}
	r.store.near.metrics.lookups.WithLabelValues("stale").Add(float64(found - c.hits))
	return found > 0
}
