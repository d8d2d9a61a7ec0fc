package repository

import (
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/predictions"
)

const cached = "model: m\ninputs: [{tensor: x, columns: [a.b]}]\noutput: y\ncache: "

func TestCacheIsParsed(t *testing.T) {
	spec, err := Parse("model.yaml", []byte(cached+"{exact: {ttl: 12h}, request: {ttl: 2s, max_mb: 8, shared: true}}"))
	if err != nil {
		t.Fatal(err)
	}
	want := predictions.Options{
		Exact: predictions.Kind{TTL: 12 * time.Hour}, Request: predictions.Kind{TTL: 2 * time.Second, Bytes: 8 << 20}, Share: true,
	}
	if spec.Cache != want {
		t.Errorf("%+v, want %+v", spec.Cache, want)
	}
}

func TestMistakesInCache(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                               "4:8: want exact, request or both",
		"{exact: {max_mb: 4}}":             `4:17: field "ttl" is missing`,
		"{exact: {ttl: 25h}}":              "4:22: want a time up to 24h",
		"{request: {ttl: 11m}}":            "4:24: want a time up to 10m",
		"{request: {ttl: 0s}}":             "4:24: want at least 1ms",
		"{exact: {ttl: 1s, shared: true}}": `4:26: unknown field "shared"`,
		"{exact: {ttl: 1s, max_mb: 0}}":    "4:34: want a whole number from 1 to 65536",
		"{nearly: {ttl: 1s}}":              `4:9: unknown field "nearly"`,
	} {
		if _, err := Parse("model.yaml", []byte(cached+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
