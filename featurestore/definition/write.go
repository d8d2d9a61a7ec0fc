package definition

import (
	"fmt"
	"io"
	"strings"
)

// The colours of a terminal, as ANSI escape sequences.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

var signs = map[Kind]struct{ sign, color string }{
	Create: {"+", green}, Update: {"~", yellow}, Delete: {"-", red},
}

// Write prints changes for a person, in the order given, with a summary line at the
// end. It returns the error of w.
func Write(w io.Writer, changes []Change, color bool) error {
	var b strings.Builder
	paint := func(code, s string) string {
		if !color {
			return s
		}
		return code + s + plain
	}
	if len(changes) == 0 {
		_, err := io.WriteString(w, "No changes: the definitions say what is applied already.\n")
		return err
	}
	counts, views := map[Kind]int{}, 0
	for i := range changes {
		change := &changes[i]
		counts[change.Kind]++
		line := fmt.Sprintf("%s %s %s", change.Kind, change.Noun, change.Name)
		if change.NewState {
			views++
			line += " (new generation)"
		}
		fmt.Fprintln(&b, paint(signs[change.Kind].color, signs[change.Kind].sign+" "+line))
		for _, detail := range change.Details {
			for _, s := range signs {
				if strings.HasPrefix(detail, s.sign+" ") {
					detail = paint(s.color, detail)
					break
				}
			}
			fmt.Fprintln(&b, "    "+detail)
		}
		if change.RowBytes > 0 {
			fmt.Fprintf(&b, "    a row takes at most %s of the %s allowed\n", kilobytes(change.RowBytes), kilobytes(MaxRowBytes))
		}
	}
	fmt.Fprintln(&b)
	fmt.Fprintln(&b, paint(bold, summary(counts, views)))
	_, err := io.WriteString(w, b.String())
	return err
}

// kilobytes is a size for a person.
func kilobytes(n int) string {
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1000)
}

func summary(counts map[Kind]int, views int) string {
	s := fmt.Sprintf("Plan: %d to create, %d to change, %d to delete.", counts[Create], counts[Update], counts[Delete])
	switch views {
	case 0:
		return s
	case 1:
		return s + " 1 view needs a new generation: it is filled from Kafka before it is served."
	default:
		return s + fmt.Sprintf(" %d views need a new generation: they are filled from Kafka before they are served.", views)
	}
}
