package repository

import (
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/onehop/onehop/inference/predictions"
)

// Bounds of what a model.yaml keeps of its answers. A score by exact inputs is right for as long as the model is; an answer by request hides
// what happened since.
const (
	minTTL        = time.Millisecond
	maxExactTTL   = 24 * time.Hour
	maxRequestTTL = 10 * time.Minute
	maxCacheMB    = 1 << 16
)

func (d *decoder) cache(n ast.Node) (o predictions.Options) {
	seen := d.fields(n, map[string]func(ast.Node){
		"exact": func(n ast.Node) { o.Exact = d.cacheKind(n, maxExactTTL, nil) },
		"request": func(n ast.Node) {
			o.Request = d.cacheKind(n, maxRequestTTL, map[string]func(ast.Node){"shared": func(n ast.Node) { o.Share = d.bool(n) }})
		},
	})
	if seen != nil && len(seen) == 0 {
		d.reportf(n, "want exact, request or both")
	}
	return o
}

// cacheKind reads a cache of one kind, with the fields that only it has.
func (d *decoder) cacheKind(n ast.Node, maxTTL time.Duration, fields map[string]func(ast.Node)) (k predictions.Kind) {
	all := map[string]func(ast.Node){
		"ttl": func(n ast.Node) {
			before := len(d.mistakes)
			if k.TTL = d.duration(n, maxTTL); k.TTL < minTTL && len(d.mistakes) == before {
				d.reportf(n, "want at least %s", minTTL)
			}
		},
		"max_mb": func(n ast.Node) { k.Bytes = int64(d.whole(n, maxCacheMB)) << 20 },
	}
	for name, decode := range fields {
		all[name] = decode
	}
	d.require(n, d.fields(n, all), "ttl")
	return k
}
