package ingest

import (
	"strconv"
	"testing"
)

func TestCacheStaysWithinItsBudget(t *testing.T) {
	c := newRowCache(10_000)
	for i := range 1000 {
		c.put(strconv.Itoa(i), make([]byte, 100))
		if n := len(c.young) + len(c.old); n*(100+rowOverhead) > 10_000+2*(100+rowOverhead) {
			t.Fatalf("%d rows of 100 bytes in a budget of 10,000", n)
		}
	}
	if _, ok := c.get("999"); !ok {
		t.Fatal("the newest row is not there")
	}
	if _, ok := c.get("0"); ok {
		t.Fatal("the oldest row is still there")
	}
}
