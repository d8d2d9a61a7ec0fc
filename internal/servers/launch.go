package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// readyPoll is how often a starting server is asked whether it answers.
	readyPoll = 25 * time.Millisecond
	// readyTry bounds one such question.
	readyTry = 3 * time.Second
	// logTail is how much of the log an error quotes.
	logTail = 2048
)

// launch runs the process and waits until it answers.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for {
		from := fileSize(s.LogFile())
		proc, err := startProcess(s.spec.command(), s.LogFile())
		if err != nil {
			return fmt.Errorf("start %s: %w", s.spec.name, err)
		}
		s.proc = proc
		err = s.waitReady(ctx)
		if err == nil {
			return nil
		}
		proc.end(0)
		tail := readTail(s.LogFile(), from)
		again := slices.ContainsFunc(s.spec.again, func(sign string) bool { return strings.Contains(tail, sign) })
		if !again || ctx.Err() != nil {
			return fmt.Errorf("start %s on %s: %w; its log %s ends with:\n%s",
				s.spec.name, s.spec.addr, err, s.LogFile(), tail)
		}
	}
}

func (s *Server) waitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	var last error
	for {
		try, cancel := context.WithTimeout(ctx, readyTry)
		version, err := s.ask(try)
		cancel()
		if err == nil {
			s.version = version
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-s.proc.done:
			return fmt.Errorf("it ended by itself (%w)", s.proc.err)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("it doesn't answer: %w", context.Cause(ctx)), last)
		case <-tick.C:
		}
	}
}

// ask does one round trip. Clients complain aloud of a port that nobody listens on, so they are let at it only when somebody
// does.
func (s *Server) ask(ctx context.Context) (version string, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.spec.addr)
	if err != nil {
		return "", err
	}
	if err := conn.Close(); err != nil {
		return "", err
	}
	return s.spec.ready(ctx)
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// readTail returns the last lines that were written to the file after the offset from.
func readTail(path string, from int64) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }() // Only read from.
	start := max(from, fileSize(path)-logTail)
	text, err := io.ReadAll(io.NewSectionReader(file, start, logTail))
	if err != nil {
		return err.Error()
	}
	if len(text) == 0 {
		return "(nothing)"
	}
	return strings.TrimSpace(string(text))
}
