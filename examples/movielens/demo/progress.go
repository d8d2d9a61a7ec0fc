package main

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress tells a person what is going on: bars on a terminal, plain lines elsewhere.
type progress struct {
	out      *os.File
	terminal bool
}

func newProgress(out *os.File) *progress {
	return &progress{out: out, terminal: term.IsTerminal(int(out.Fd()))}
}

// line prints a line.
func (p *progress) line(text string) { _, _ = fmt.Fprintln(p.out, text) } // nobody to tell if it fails

// step announces something of unknown length; the returned function says how long it
// took.
func (p *progress) step(text string) func() {
	start := time.Now()
	if !p.terminal {
		return func() { p.line(fmt.Sprintf("%s: %.1f s", text, time.Since(start).Seconds())) }
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(text),
		progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionSpinnerType(14), progressbar.OptionClearOnFinish())
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				_ = bar.Add(1)
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
		_ = bar.Finish()
	}
}

// bar shows how much of something is done. set is for one goroutine at a time.
type bar struct {
	p     *progress
	text  string
	total int
	shown *progressbar.ProgressBar
	next  int // plain lines: how much is done when the next one is due
}

func (p *progress) bar(text string, total int) *bar {
	b := &bar{p: p, text: text, total: total, next: max(1, total/4)}
	if p.terminal {
		b.shown = progressbar.NewOptions(total, progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(text),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(50*time.Millisecond))
	}
	return b
}

// set shows that done of the total are done.
func (b *bar) set(done int) {
	if b.shown != nil {
		_ = b.shown.Set(min(done, b.total))
		return
	}
	if done < b.next {
		return
	}
	b.p.line(fmt.Sprintf("%s: %d of %d", b.text, done, b.total))
	b.next = done + max(1, b.total/4)
	if b.next > b.total && done < b.total {
		b.next = b.total
	}
}
