package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/onehop/onehop/featurestore/cases"
)

// testCommand runs users' own cases.
type testCommand struct {
	Files []string `arg:"" name:"file" help:"Files of cases."`
	JSON  bool     `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*testCommand) Help() string {
	return `Events go in, features are read at a time, and what is read is compared with what is expected. No server is needed: events are
decoded, folded and read by the code of the services. The exit status is 1 when a case fails.

A file looks like this; definitions may be written there in place of the paths:

    definitions: [../definitions]
    cases:
      - name: a window slides by hops
        events:
          - {time: 2026-01-01T10:00:20Z, value: {user_id: 7, movie_id: 1, rating: 4}}
        reads:
          - at: 2026-01-01T11:00:30Z
            of: {user_id: 7}
            expect: {user_ratings.count_1h: 1, user_ratings.mean_1h: 4, user_ratings.last: {status: EXPIRED}}

Floats are equal within a billionth, of 1 or of themselves where they are larger, because people round.
A read before an entity's newest event is taken just after that event, as the services do: a row holds no past.
An event may also have source, at (the record's timestamp), partition, key, headers; a case also rejected: [{event: 2, reason:
text}] and counts: {view: {folded: 1, late: 0, duplicate: 0}}.

Example:

    onehop test examples/movielens/tests/ratings.yaml`
}

// testedFile is what became of a file's cases.
type testedFile struct {
	File  string       `json:"file"`
	Cases []testedCase `json:"cases"`
}

type testedCase struct {
	Name     string          `json:"name"`
	Failures []cases.Failure `json:"failures,omitempty"`
}

// Run runs all cases.
func (c *testCommand) Run(ctx context.Context, s Streams) error {
	var files []testedFile
	total, failed := 0, 0
	for _, name := range c.Files {
		file, err := testFile(ctx, name)
		if err != nil {
			return err
		}
		for i := range file.Cases {
			total++
			if len(file.Cases[i].Failures) > 0 {
				failed++
			}
		}
		files = append(files, file)
		if !c.JSON {
			file.write(s.Out)
		}
	}
	if c.JSON {
		if err := writeJSON(s.Out, files); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(s.Out, "%d cases, %d failed\n", total, failed)
	}
	if failed > 0 {
		return exitError(exitFailed)
	}
	return nil
}

func testFile(ctx context.Context, name string) (testedFile, error) {
	file := testedFile{File: name}
	suite, err := cases.Load(name)
	if err != nil {
		return file, err
	}
	for i := range suite.Cases {
		one := &suite.Cases[i]
		failures, err := suite.Run(ctx, one)
		if err != nil {
			return file, err
		}
		file.Cases = append(file.Cases, testedCase{Name: one.Name, Failures: failures})
	}
	return file, nil
}

func (f *testedFile) write(w io.Writer) {
	fmt.Fprintln(w, f.File)
	for _, c := range f.Cases {
		if len(c.Failures) == 0 {
			fmt.Fprintln(w, "  ok   ", c.Name)
			continue
		}
		fmt.Fprintln(w, "  FAIL ", c.Name)
		for _, failure := range c.Failures {
			fmt.Fprintf(w, "          line %d: %s\n", failure.Line, failure.Message)
		}
	}
}
