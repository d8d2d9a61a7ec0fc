package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/onehop/onehop/featurestore/stream"
)

// dlqRetryCommand puts records back.
type dlqRetryCommand struct {
	dlqFlags     `embed:""`
	Places       []string `arg:"" optional:"" name:"place" help:"Places of letters, partition/offset, as onehop dlq list has them."`
	letterFilter `embed:""`
	All          bool `help:"All letters that were not put back yet."`
	Force        bool `help:"Put back what would be refused again, too."`
	DryRun       bool `help:"Say what would become of each letter, and put nothing back."`
	Yes          bool `short:"y" env:"ONEHOP_YES" help:"Do not ask. Without a terminal nobody is asked."`
	JSON         bool `name:"json" help:"Print JSON, and do not ask."`
}

// Help is printed by --help.
func (*dlqRetryCommand) Help() string {
	return "The records go back to the partitions of the source's topic that they came from, with their keys, values and headers, " +
		"and are folded exactly once: a letter that was put back is marked in the same transaction, and is never put back " +
		"again, whoever tries and whatever crashes. The definitions in force now decide about it; its event time is " +
		"checked against the time at which it was first written, so that old events are not too old.\n\n" +
		"A letter that would be refused again stays, and is told; the exit status is then 1. Other readers of the topic see " +
		"the record a second time: its header onehop-retry-of says of which letter it is.\n\n" +
		"Example:\n\n    onehop dlq retry ratings --all --dry-run\n    onehop dlq retry ratings 0/4711 2/17\n    onehop dlq retry ratings --reason '\"rating\" is missing' --yes"
}

// Check returns everything that is wrong with the flags.
func (c *dlqRetryCommand) Check() error {
	err := errors.Join(c.dlqFlags.Check(), c.letterFilter.Check())
	filtered := c.All || c.Reason != "" || c.Since != ""
	if (len(c.Places) > 0) == filtered {
		err = errors.Join(err, errors.New("say which letters: their places, or --all, --reason or --since"))
	}
	return err
}

// retryResult is what became of the letters.
type retryResult struct {
	PutBack int  `json:"put_back"`
	DryRun  bool `json:"dry_run,omitempty"`
	// Refused letters stay, because they would be refused again; Forced ones were put back
	// nevertheless.
	Refused []letterLine `json:"refused"`
	Forced  int          `json:"forced,omitempty"`
}

// Run puts back.
func (c *dlqRetryCommand) Run(ctx context.Context, s Streams) error {
	box, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer box.Close()
	if err := waitForEffect(ctx, s.Err, box.version, box.effectiveAt); err != nil {
		return err
	}
	result := retryResult{DryRun: c.DryRun, Refused: []letterLine{}}
	choose := func(list []stream.Letter) ([]stream.Letter, error) { return c.choose(ctx, s, box, list, &result) }
	reading, read := quietProgress(s.Err, "records read")
	if c.DryRun {
		list, err := box.List(ctx, reading)
		read()
		if err != nil {
			return err
		}
		accepted, err := choose(list)
		if err != nil {
			return err
		}
		result.PutBack = len(accepted)
	} else {
		putting, put := quietProgress(s.Err, "letters put back")
		result.PutBack, err = box.Retry(ctx, choose, reading, putting)
		read()
		put()
		if err != nil {
			return fmt.Errorf("%s put back: %w", letters(result.PutBack), err)
		}
	}
	if err := c.tell(s.Out, &result); err != nil {
		return err
	}
	if len(result.Refused) > 0 {
		return exitError(exitFailed)
	}
	return nil
}

// maxAhead is how far ahead of this machine's clock definitions may take effect.
const maxAhead = 30 * time.Second

// waitForEffect waits until the newest definitions are in force: they are to decide.
func waitForEffect(ctx context.Context, w io.Writer, version int, effectiveAt int64) error {
	ahead := time.Until(time.UnixMicro(effectiveAt)) + 10*time.Millisecond // timestamps of records have milliseconds
	if ahead <= 10*time.Millisecond {
		return nil
	}
	if ahead > maxAhead {
		return fmt.Errorf("version %d of the definitions takes effect in %s: do the clocks differ?", version, ahead.Round(time.Second))
	}
	fmt.Fprintf(w, "version %d of the definitions takes effect in %s; waiting\n", version, ahead.Round(time.Millisecond))
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// choose finds the letters that are meant, leaves out those that would be refused, and asks.
func (c *dlqRetryCommand) choose(ctx context.Context, s Streams, box *letterBox, list []stream.Letter, result *retryResult) ([]stream.Letter, error) {
	meant, err := c.meant(list, s.Err)
	if err != nil {
		return nil, err
	}
	place := newPlaces(list)
	var accepted []stream.Letter
	done := 0
	checking, checked := progress(s.Err, "letters checked", len(meant))
	err = box.Each(ctx, meant, func(letter *stream.Letter) error {
		done++
		checking(done)
		why := box.judge(ctx, letter)
		if why != nil && (!c.Force || letter.Cut != "") {
			line := newLetterLine(letter, place)
			line.Reason = why.Error()
			result.Refused = append(result.Refused, line)
			return nil
		}
		if why != nil {
			result.Forced++
		}
		letter.Record = nil // it is read again
		accepted = append(accepted, *letter)
		return nil
	})
	checked()
	if err != nil || c.DryRun || c.JSON || len(accepted) == 0 {
		return accepted, err
	}
	question := fmt.Sprintf("Put %d of %s back on topic %s?", len(accepted), letters(len(meant)), box.source.Topic)
	return accepted, confirm(ctx, s, c.Yes, question, "nothing was put back")
}

// meant are the letters that were asked for, those left out that were put back before.
func (c *dlqRetryCommand) meant(list []stream.Letter, w io.Writer) ([]stream.Letter, error) {
	if len(c.Places) == 0 {
		return c.filter(list, time.Now(), false), nil
	}
	var meant []stream.Letter
	seen := map[string]bool{}
	for _, place := range c.Places {
		letter, err := find(list, place)
		switch {
		case err != nil:
			return nil, err
		case letter.Retried != nil:
			fmt.Fprintf(w, "%s was put back before, as %d/%d\n", place, letter.Retried.Partition, letter.Retried.Offset)
		case !seen[letter.ID]:
			seen[letter.ID] = true
			meant = append(meant, *letter)
		}
	}
	return meant, nil
}

// maxTold bounds the refused letters that are told one by one.
const maxTold = 20

func (c *dlqRetryCommand) tell(w io.Writer, result *retryResult) error {
	if c.JSON {
		return writeJSON(w, result)
	}
	for i, l := range result.Refused {
		if i == maxTold {
			fmt.Fprintf(w, "and %d more would be refused again\n", len(result.Refused)-maxTold)
			break
		}
		fmt.Fprintf(w, "%s stays, it would be refused again: %s\n", l.Place, printable(l.Reason))
	}
	did := "Put back"
	if c.DryRun {
		did = "Would put back"
	}
	forced := ""
	if result.Forced > 0 {
		forced = fmt.Sprintf(", %d of them though they will be refused again", result.Forced)
	}
	_, err := fmt.Fprintf(w, "%s %s of source %s%s.\n", did, letters(result.PutBack), c.Source, forced)
	return err
}

func letters(n int) string {
	if n == 1 {
		return "1 letter"
	}
	return fmt.Sprintf("%d letters", n)
}
