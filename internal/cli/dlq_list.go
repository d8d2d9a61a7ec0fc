package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/onehop/onehop/featurestore/stream"
)

// dlqListCommand lists dead letters.
type dlqListCommand struct {
	dlqFlags     `embed:""`
	letterFilter `embed:""`
	ByReason     bool `help:"Count them by reason, numbers and times in it left aside."`
	All          bool `help:"Those too that were put back."`
	Limit        int  `default:"50" help:"The newest so many; 0 is all."`
	JSON         bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*dlqListCommand) Help() string {
	return "Newest first. The place of a letter, partition/offset, is where its record was on the source's topic: the other " +
		"commands take it.\n\n" +
		"Example:\n\n    onehop dlq list ratings --since 24h --by-reason"
}

// Check returns everything that is wrong with the flags.
func (c *dlqListCommand) Check() error {
	err := errors.Join(c.dlqFlags.Check(), c.letterFilter.Check())
	if c.Limit < 0 {
		err = errors.Join(err, errors.New("--limit must not be negative"))
	}
	return err
}

// letterLine is a letter as JSON.
type letterLine struct {
	Place   string       `json:"place"`
	ID      string       `json:"id"`
	Time    string       `json:"record_time"`
	Reason  string       `json:"reason"`
	Bytes   int          `json:"bytes"`
	Cut     string       `json:"cut,omitempty"`
	Retried *retriedLine `json:"retried,omitempty"`
}

type retriedLine struct {
	At string `json:"at"`
	As string `json:"as"`
}

// reasonLine is a reason and the letters that have it.
type reasonLine struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
	Oldest string `json:"oldest"`
	Newest string `json:"newest"`
	// Example is the place of the newest.
	Example string `json:"example"`
}

// Run lists.
func (c *dlqListCommand) Run(ctx context.Context, s Streams) error {
	box, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer box.Close()
	report, finish := quietProgress(s.Err, "records read")
	all, err := box.List(ctx, report)
	finish()
	if err != nil {
		return err
	}
	now := time.Now()
	list := c.filter(all, now, c.All)
	place := newPlaces(all)
	if c.ByReason {
		return c.writeReasons(s.Out, byReason(list, place))
	}
	shown := list
	if c.Limit > 0 {
		shown = list[:min(len(list), c.Limit)]
	}
	if c.JSON {
		lines := make([]letterLine, len(shown))
		for i := range shown {
			lines[i] = newLetterLine(&shown[i], place)
		}
		return writeJSON(s.Out, lines)
	}
	writeLetters(s.Out, shown, place, now)
	switch hidden := len(c.filter(all, now, true)) - len(list); {
	case len(list) > len(shown):
		fmt.Fprintf(s.Out, "%d of %d letters; --limit 0 shows all, --by-reason counts them.\n", len(shown), len(list))
	case len(list) == 0 && hidden > 0:
		fmt.Fprintf(s.Out, "No dead letters of source %s but %d that were put back: --all shows them.\n", c.Source, hidden)
	case len(list) == 0:
		fmt.Fprintf(s.Out, "No dead letters of source %s.\n", c.Source)
	}
	return nil
}

func newLetterLine(l *stream.Letter, place places) letterLine {
	line := letterLine{Place: place.name(l), ID: l.ID, Time: timeText(l.Time), Reason: l.Reason, Bytes: l.Size, Cut: l.Cut}
	if l.Retried != nil {
		line.Retried = &retriedLine{At: timeText(l.Retried.At), As: fmt.Sprintf("%d/%d", l.Retried.Partition, l.Retried.Offset)}
	}
	return line
}

func writeLetters(w io.Writer, list []stream.Letter, place places, now time.Time) {
	if len(list) == 0 {
		return
	}
	table := newTable(w)
	table.row("PLACE", "RECORD TIME", "AGE", "BYTES", "REASON")
	for i := range list {
		l := &list[i]
		reason := shorten(printable(l.Reason))
		if l.Retried != nil {
			reason = fmt.Sprintf("put back %s as %d/%d; %s", timeText(l.Retried.At), l.Retried.Partition, l.Retried.Offset, reason)
		}
		table.row(place.name(l), timeText(l.Time), ageText(now.Sub(l.Time)), strconv.Itoa(l.Size), reason)
	}
	table.flush()
}

// numbers are what differs between reasons that are the same: values, offsets, times.
var numbers = regexp.MustCompile(`\b\d[\d.:TZ+-]*`)

// byReason groups letters, the most frequent reason first.
func byReason(list []stream.Letter, place places) []reasonLine {
	index := map[string]int{}
	var groups []reasonLine
	for i := range list {
		l := &list[i]
		reason := numbers.ReplaceAllString(l.Reason, "N")
		at, known := index[reason]
		if !known {
			at, index[reason] = len(groups), len(groups)
			groups = append(groups, reasonLine{Reason: reason, Newest: timeText(l.Time), Example: place.name(l)})
		}
		groups[at].Count++
		groups[at].Oldest = timeText(l.Time)
	}
	slices.SortStableFunc(groups, func(a, b reasonLine) int { return cmp.Compare(b.Count, a.Count) })
	return groups
}

func (c *dlqListCommand) writeReasons(w io.Writer, groups []reasonLine) error {
	if c.JSON {
		return writeJSON(w, groups)
	}
	if len(groups) == 0 {
		fmt.Fprintf(w, "No dead letters of source %s.\n", c.Source)
		return nil
	}
	table := newTable(w)
	table.row("COUNT", "OLDEST", "NEWEST", "EXAMPLE", "REASON")
	for _, g := range groups {
		table.row(strconv.Itoa(g.Count), g.Oldest, g.Newest, g.Example, printable(g.Reason))
	}
	table.flush()
	return nil
}

// printable is text that came from a record as a terminal may have it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\ufffd'
	}, text)
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// ageText is a duration to the two units that matter.
func ageText(age time.Duration) string {
	switch day := 24 * time.Hour; {
	case age < 0:
		return "to come"
	case age < time.Minute:
		return fmt.Sprintf("%ds", age/time.Second)
	case age < time.Hour:
		return fmt.Sprintf("%dm%ds", age/time.Minute, age%time.Minute/time.Second)
	case age < day:
		return fmt.Sprintf("%dh%dm", age/time.Hour, age%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", age/day, age%day/time.Hour)
	}
}

// progressAfter is how long work goes on before it is worth a bar.
const progressAfter = time.Second

// quietProgress is progress of an unknown amount of work that is mostly quick: nothing is
// shown of the first second.
func quietProgress(w io.Writer, what string) (report func(done int), finish func()) {
	from, end := time.Now().Add(progressAfter), func() {}
	var show func(int)
	report = func(done int) {
		if show == nil && time.Now().After(from) {
			show, end = progress(w, what, 0)
		}
		if show != nil {
			show(done)
		}
	}
	return report, func() { end() }
}
