package ingest

// rowCache is a bounded cache of packed rows by encoded entity key; nil for an entity
// that is known to have none. It is a hint:
// the store refuses what was folded from an outdated row. Two generations stand in
// for an LRU list: rows that are used move to the young one, and when that is half
// the budget the old one is dropped.
type rowCache struct {
	budget     int
	young, old map[string][]byte
	youngBytes int
}

// rowOverhead is what a cached row costs beside its key and bytes, in bytes.
const rowOverhead = 96

func newRowCache(budget int) *rowCache {
	c := &rowCache{budget: budget}
	c.clear()
	return c
}

func (c *rowCache) clear() {
	c.young, c.old, c.youngBytes = map[string][]byte{}, nil, 0
}

func (c *rowCache) get(key string) ([]byte, bool) {
	if row, ok := c.young[key]; ok {
		return row, true
	}
	row, ok := c.old[key]
	if ok {
		c.put(key, row)
	}
	return row, ok
}

func (c *rowCache) put(key string, row []byte) {
	if before, ok := c.young[key]; ok {
		c.youngBytes -= len(before)
	} else {
		c.youngBytes += len(key) + rowOverhead
	}
	c.young[key] = row
	c.youngBytes += len(row)
	if c.youngBytes > c.budget/2 {
		c.old, c.young, c.youngBytes = c.young, map[string][]byte{}, 0
	}
}

func (c *rowCache) remove(key string) {
	if row, ok := c.young[key]; ok {
		c.youngBytes -= len(row) + len(key) + rowOverhead
		delete(c.young, key)
	}
	delete(c.old, key)
}
