package definition

import (
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// TestServingLog: the log is a source as soon as something is logged, kept as long as the
// longest definition says.
func TestServingLog(t *testing.T) {
	const text = `
namespace: shop
entities: [{name: user, keys: [{name: user_id, type: int64}]}]
sources: [{name: orders, format: json, event_time: {record: true}, fields: [{name: user_id, type: int64, required: true}]}]
views: [{name: user, entity: user, source: orders, features: [{name: n, aggregate: count, windows: [1h]}]}]
services: [{name: all, features: [user.*], LOG}]
models: [{name: best, service: all, candidates: user, MODEL}]
`
	for _, c := range []struct {
		service, model string
		want           time.Duration // 0 for no log
	}{
		{"description: x", "description: x", 0},
		{"log: {sample: 0.5}", "description: x", 30 * 24 * time.Hour},
		{"description: x", "log: {sample: 1, retention: 2d}", 2 * 24 * time.Hour},
		{"log: {sample: 0.5}", "log: {sample: 1, retention: 400d}", 400 * 24 * time.Hour},
	} {
		file := strings.NewReplacer("LOG", c.service, "MODEL", c.model).Replace(text)
		catalog, err := Parse([]File{{Name: "d.yaml", Text: []byte(file)}})
		if err != nil {
			t.Fatal(err)
		}
		source := catalog.Source(featurestore.ServedSource)
		if c.want == 0 {
			if source != nil || len(catalog.Sources) != 1 {
				t.Errorf("nothing is logged, and there are sources %+v", catalog.Sources)
			}
			continue
		}
		if source == nil || source.Retention != c.want || source.Topic != "shop.served" || len(catalog.ViewsOf(source.Name)) != 0 {
			t.Errorf("%s, %s: the log is %+v, want it kept for %s", c.service, c.model, source, c.want)
		}
	}
}
