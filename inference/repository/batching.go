package repository

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/onehop/onehop/inference/batching"
)

// Bounds of what a model.yaml asks for.
const (
	maxColumnLength = 1 << 12
	maxInstances    = 64
	maxRunRows      = 1 << 14
	maxRunDelay     = time.Second
	maxQueueRows    = 1 << 20
)

func (d *decoder) batching(n ast.Node) batching.Options {
	var o batching.Options
	d.fields(n, map[string]func(ast.Node){
		"instances":  func(n ast.Node) { o.Instances = d.whole(n, maxInstances) },
		"max_rows":   func(n ast.Node) { o.MaxRows = d.whole(n, maxRunRows) },
		"queue_rows": func(n ast.Node) { o.QueueRows = d.whole(n, maxQueueRows) },
		"max_delay":  func(n ast.Node) { o.MaxDelay = d.duration(n, maxRunDelay) },
		"sizes": func(n ast.Node) {
			for _, size := range d.sequence(n) {
				rows := d.whole(size, maxRunRows)
				if last := len(o.Sizes) - 1; last >= 0 && rows <= o.Sizes[last] {
					d.reportf(size, "sizes must grow, and %d is not more than %d", rows, o.Sizes[last])
				}
				o.Sizes = append(o.Sizes, rows)
			}
		},
	})
	if len(o.Sizes) > 0 && o.MaxRows > 0 {
		d.reportf(n, "give sizes, whose last is the most rows of a run, or max_rows")
	}
	if most := max(o.MaxRows, slices.Max(append(o.Sizes, 0))); o.QueueRows > 0 && o.QueueRows < cmp.Or(most, batching.DefaultMaxRows) {
		d.reportf(n, "queue_rows must be at least the rows of a run, %d", cmp.Or(most, batching.DefaultMaxRows))
	}
	return o
}

// whole reads a whole number from 1 to most.
func (d *decoder) whole(n ast.Node, most int) int {
	value, err := strconv.Atoi(n.GetToken().Value)
	if n.Type() != ast.IntegerType || err != nil || value < 1 || value > most {
		d.reportf(n, "want a whole number from 1 to %d", most)
		return 0
	}
	return value
}

// duration reads a time with its unit, up to most.
func (d *decoder) duration(n ast.Node, most time.Duration) time.Duration {
	value, err := time.ParseDuration(n.GetToken().Value)
	if err != nil || value < 0 || value > most {
		d.reportf(n, "want a time up to %s with its unit, like 500us or 2s", most)
		return 0
	}
	return value
}
