package definition

import (
	"fmt"
	"slices"
	"strings"
)

// maxListed is how many names a message lists when none is near.
const maxListed = 8

// hint is the end of a message about an unknown name: the name that was probably
// meant, else the few that there are.
func hint(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	if len(known) == 0 || len(known) > maxListed {
		return ""
	}
	known = slices.Sorted(slices.Values(known))
	if len(known) == 1 {
		return fmt.Sprintf("; there is only %q", known[0])
	}
	return "; there are " + strings.Join(known, ", ")
}

// nearest is the known name at the least distance, "" if all are too far to be meant.
// Of equally near names the first in order wins.
func nearest(name string, known []string) string {
	if len(name) > 100 {
		return ""
	}
	best, bestDistance := "", min(3, max(1, len(name)/2))+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if len(k) > 2*len(name)+3 {
			continue
		}
		if d := distance(name, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the optimal string alignment distance: insertions, deletions,
// replacements and swaps of neighbours, each 1.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
