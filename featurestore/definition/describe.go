package definition

import (
	"fmt"
	"strings"

	"github.com/onehop/onehop/featurestore"
)

// describe is a feature in words: "mean of rating over 1h, 30d".
func describe(f *featurestore.Feature) string {
	var b strings.Builder
	b.WriteString(f.Aggregate)
	if f.N > 0 {
		fmt.Fprintf(&b, " %d", f.N)
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
		if w.Hop != featurestore.NewWindow(w.Length).Hop {
			b.WriteString(" by " + featurestore.FormatDuration(w.Hop))
		}
	}
	return b.String()
}
