package definition

import (
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// retentions refuses a source's history to end before what a view of the source needs: its
// training sets would lack events.
func (c *checker) retentions() {
	for i := range c.catalog.Views {
		view := &c.catalog.Views[i]
		source := c.catalog.Source(view.Source)
		if source.Retention == 0 {
			continue
		}
		at := c.sourceDef(source.Name).Retention.place
		program, err := fold.Compile(view, source)
		if err != nil {
			continue // which was reported
		}
		kept, needed := featurestore.FormatDuration(source.Retention), time.Duration(program.Lookback())*time.Microsecond
		switch {
		case needed == 0:
			c.addf(at, "source %q has \"retention: %s\", and feature view %q needs all events, because %s: remove the retention, or that",
				source.Name, kept, view.Name, whyAll(view, source))
		case needed > source.Retention:
			c.addf(at, "source %q has \"retention: %s\", and feature view %q needs events of %s (its ttl or its longest window with a hop, and the source's max_age): keep them at least as long",
				source.Name, kept, view.Name, featurestore.FormatDuration(needed))
		}
	}
}

// whyAll says why a view needs all events.
func whyAll(view *featurestore.View, source *featurestore.Source) string {
	switch {
	case view.Dedupe != (featurestore.Dedupe{}):
		return "it leaves out duplicates"
	case source.Deletes:
		return "the source has tombstones"
	default:
		return "of a feature over a lifetime, a decayed one, the first value, or one without a window in a view without a ttl"
	}
}
