package cli

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// maxShown bounds the width of a value in the tables for people.
const maxShown = 60

// write prints the inspection for a person.
func (in *inspection) write(w io.Writer, tiles bool) {
	fmt.Fprintf(w, "%s %s: namespace %s, definitions version %d, bucket %d\n", in.Entity, in.Key, in.Namespace, in.Version, in.Bucket)
	for i := range in.Views {
		fmt.Fprintln(w)
		in.Views[i].write(w, tiles)
	}
}

func (v *viewInspection) write(w io.Writer, tiles bool) {
	fmt.Fprintf(w, "%s, generation %d: %s\n", v.View, v.Generation, markerText(v.Marker))
	fmt.Fprintf(w, "  key         %s\n", v.RedisKey)
	switch {
	case v.RowBytes == 0:
		fmt.Fprintln(w, "  row         none")
	case v.Expires == "":
		fmt.Fprintf(w, "  row         %d bytes, kept for ever\n", v.RowBytes)
	default:
		fmt.Fprintf(w, "  row         %d bytes, forgotten in %s\n", v.RowBytes, v.Expires)
	}
	if v.Newest != nil {
		fmt.Fprintf(w, "  newest      %s, partition %d, offset %d\n", v.Newest.Time, v.Newest.Partition, v.Newest.Offset)
	}
	for _, partition := range slices.Sorted(maps.Keys(v.Watermarks)) {
		fmt.Fprintf(w, "  watermark   %s at offset %d\n", partition, v.Watermarks[partition])
	}
	if v.Problem != "" {
		fmt.Fprintf(w, "  problem     %s\n", v.Problem)
		return
	}
	v.writeValues(w)
	v.writeTiles(w, tiles)
}

func markerText(marker string) string {
	if marker == "lost" {
		return "not filled yet, or lost"
	}
	return marker
}

func (v *viewInspection) writeValues(w io.Writer) {
	fmt.Fprintf(w, "  values at   %s\n", v.ReadTime)
	table := newTable(w)
	for _, value := range v.Values {
		text := shorten(value.text)
		if value.Value == nil {
			text = "-"
		}
		table.row("    "+value.Name, text, value.Status, value.EventTime)
	}
	for _, kept := range v.Kept {
		texts := make([]string, len(kept.Entries))
		for i, e := range kept.Entries {
			texts[i] = e.text
		}
		table.row("    kept: "+kept.Feature, shorten(strings.Join(texts, " ")), kept.Aggregate, since(kept))
	}
	table.flush()
}

// since says from when the oldest entry of a list is.
func since(kept keptInspection) string {
	if n := len(kept.Entries); n > 0 && kept.Entries[n-1].Event != nil {
		return "since " + kept.Entries[n-1].Event.Time
	}
	return ""
}

func (v *viewInspection) writeTiles(w io.Writer, all bool) {
	table := newTable(w)
	for _, set := range v.Tiles {
		span := ""
		if set.Oldest != "" {
			span = set.Oldest + " to " + set.Newest
		}
		table.row("  tiles "+set.Hop, strconv.Itoa(set.Count), span, "each with "+strings.Join(set.Partials, ", "))
		for i := range set.Tiles {
			if all {
				table.row("", "", set.Tiles[i].Start, strings.Join(set.Tiles[i].texts, ", "))
			}
		}
	}
	table.flush()
}

// table lines up columns. Nobody can be told when a terminal does not take them.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (t table) row(cells ...string) { _, _ = io.WriteString(t.w, strings.Join(cells, "\t")+"\n") }

func (t table) flush() { _ = t.w.Flush() }

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxShown {
		return string(runes[:maxShown-1]) + "…"
	}
	return text
}

func finite(f float64) (float64, bool) { return f, !math.IsInf(f, 0) && !math.IsNaN(f) }
