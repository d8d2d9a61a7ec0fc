package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// WriteTable prints results for people.
func WriteTable(out io.Writer, results []*Result) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\trepeats\tevents\trows\thistory\tletters\tlost\tdoubled\twrong\tverified\tskewed\tworst resume\twall\t")
	for _, r := range results {
		resume := "–"
		if r.WorstResume > 0 {
			resume = fmt.Sprintf("%.1f s", r.WorstResume)
		}
		failed := ""
		if !r.OK() {
			failed = " FAILED"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%.0f s\t%s\n", r.Fault, r.Times, r.Events, r.Rows, r.History,
			r.Letters, r.Lost, r.Doubled, r.Wrong, r.Points, r.Skewed, resume, r.Wall, failed)
	}
	_ = w.Flush() // to a terminal
}

// Save writes a result to a file of its fault in a directory, replacing an earlier one.
func (r *Result) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("the directory for results: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("the result of %s: %w", r.Fault, err)
	}
	name := r.Fault + ".short.json"
	if r.Full {
		name = r.Fault + ".json"
	}
	if err := os.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("the result of %s: %w", r.Fault, err)
	}
	return nil
}
