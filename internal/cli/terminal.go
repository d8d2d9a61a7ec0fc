package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// terminal says whether a stream is a terminal.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colorful says whether colours may be written to a stream: https://no-color.org
func colorful(stream any) bool { return os.Getenv("NO_COLOR") == "" && terminal(stream) }

// writeJSON prints a value for a program.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// confirm asks a question, where there is somebody to ask; refused is the error when the
// answer is not yes.
func confirm(ctx context.Context, s Streams, yes bool, question, refused string) error {
	if yes || !terminal(s.In) {
		return nil
	}
	fmt.Fprint(s.Out, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // a read of a terminal cannot be cancelled; the program ends when nobody answers
		line, _ := bufio.NewReader(s.In).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		if line == "y" || line == "yes" {
			return nil
		}
	case <-ctx.Done():
		fmt.Fprintln(s.Out)
	}
	return errors.New(refused)
}

// lineEvery is how often progress is told where there is no terminal.
const lineEvery = 5 * time.Second

// progress returns a function that shows how much of count is done, and one to call at
// the end: a bar on a terminal, a line every few seconds elsewhere. A count of 0 is
// unknown.
func progress(w io.Writer, what string, count int) (report func(done int), finish func()) {
	if !terminal(w) {
		next := time.Now().Add(lineEvery)
		return func(done int) {
			if now := time.Now(); now.After(next) {
				next = now.Add(lineEvery)
				fmt.Fprintf(w, "%s: %d%s\n", what, done, ofCount(count))
			}
		}, func() {}
	}
	total := count
	if total == 0 {
		total = -1
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine: it moves when progress is told
		progressbar.OptionFullWidth())
	return func(done int) { _ = bar.Set(done) }, func() { _ = bar.Exit(); fmt.Fprintln(w) }
}

func ofCount(count int) string {
	if count == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d", count)
}
