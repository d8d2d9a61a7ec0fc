package definition

import (
	"fmt"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// describe is a feature in words: "mean of rating over 1h, 30d".
func describe(f *featurestore.Feature) string {
	var b strings.Builder
	b.WriteString(f.Aggregate)
	switch {
	case f.N > 0:
		fmt.Fprintf(&b, " %d", f.N)
	case f.Q > 0:
		fmt.Fprintf(&b, " %g", f.Q)
	case f.Of != "":
		b.WriteString(" (" + f.Of + ")")
	case f.HalfLife > 0:
		b.WriteString(" by half in " + featurestore.FormatDuration(f.HalfLife))
	}
	if f.Field != "" {
		b.WriteString(" of " + f.Field)
	}
	for i, w := range f.Windows {
		if i == 0 {
			b.WriteString(" over ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(w.String())
		if w.Hop != defaultWindow(f, w.Length).Hop {
			b.WriteString(" by " + featurestore.FormatDuration(w.Hop))
		}
	}
	if f.Exact > 0 {
		fmt.Fprintf(&b, " (exact %d)", f.Exact)
	}
	if f.Where != "" {
		b.WriteString(" where " + f.Where)
	}
	return b.String()
}

// defaultWindow is the window of a feature when the definition says its length only.
func defaultWindow(f *featurestore.Feature, length time.Duration) featurestore.Window {
	switch {
	case f.Exact > 0:
		return featurestore.Window{Length: length}
	case fold.Sketch(f.Aggregate):
		return featurestore.NewSketchWindow(length)
	default:
		return featurestore.NewWindow(length)
	}
}
