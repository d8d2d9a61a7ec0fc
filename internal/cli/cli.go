package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/onehop/onehop/internal/config"
)

// Exit statuses.
const (
	exitFailed  = 1
	exitChanges = 2
	exitUsage   = 64
)

// Streams are what a command reads and writes.
type Streams struct {
	In io.Reader
	// Out takes what was asked for, Err progress and complaints.
	Out, Err io.Writer
}

// root lists the commands.
type root struct {
	Dev         devCommand         `cmd:"" help:"Run all of Onehop in this process, servers included."`
	Plan        planCommand        `cmd:"" help:"Show what applying definitions would change."`
	Apply       applyCommand       `cmd:"" help:"Apply definitions."`
	Test        testCommand        `cmd:"" help:"Run cases of your definitions: events in, expected features out. No servers."`
	Inspect     inspectCommand     `cmd:"" help:"Show what is stored of an entity, decoded."`
	Verify      verifyCommand      `cmd:"" help:"Compare the rows in Redis with the events in history."`
	TrainingSet trainingSetCommand `cmd:"" name:"training-set" help:"Add to rows of keys and times the values that features had then."`
	Backfill    backfillCommand    `cmd:"" help:"Fill views from history, where Kafka no longer has all events."`
	Stats       statsCommand       `cmd:"" help:"What the values of features are like, and how far they have drifted."`
	Export      exportCommand      `cmd:"" help:"Write the history of a source as Parquet, a directory for each day."`
	Import      importCommand      `cmd:"" help:"Bring past events from files to history."`
	Materialize materializeCommand `cmd:"" help:"Write the new rows of a batch source, a table or files, to its topic."`
	Delete      deleteCommand      `cmd:"" name:"delete-entity" help:"Forget one entity: its rows, its events, and what they left in other rows."`
	Models      modelsCommand      `cmd:"" help:"The versions of models: who gets which, try one on a share, roll back."`
	DLQ         dlqCommand         `cmd:"" name:"dlq" help:"Look at the events that were refused, the dead letters, and put them back."`
	Generate    generateCommand    `cmd:"" help:"Invent a stream of movie ratings."`
	Bench       benchCommand       `cmd:"" help:"Measure Onehop beside its floor, with servers of its own."`
	Setup       setupCommand       `cmd:"" help:"Fetch what Onehop uses but does not contain."`
	Health      healthCommand      `cmd:"" help:"Ask a service whether it is well."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

const description = `The tool of Onehop, a real-time feature store: from a Kafka event to a prediction in one hop.

Start with: onehop dev examples/movielens`

// exitError ends the program with a status and without a message: what there is to say
// has been said.
type exitError int

// Error implements error.
func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Run runs the command that args name and returns the exit status of the program. It
// ends when the command is done or, soon after, when ctx ends.
func Run(ctx context.Context, args []string, s Streams) int {
	helped := false
	parser, err := kong.New(&root{}, kong.Name("onehop"), kong.Description(description),
		kong.Writers(s.Out, s.Err), kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(s))
	if err != nil { // a mistake in the tags, which the tests would have met
		fmt.Fprintln(s.Err, "onehop:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if helped {
		return 0
	}
	if err == nil {
		err = check(command)
	}
	if err != nil {
		complain(s.Err, err)
		fmt.Fprintln(s.Err, "Run onehop --help for the commands, onehop COMMAND --help for one of them.")
		return exitUsage
	}
	return status(s.Err, command.Run())
}

// check asks the command what is wrong with its flags.
func check(command *kong.Context) error {
	if c, ok := command.Selected().Target.Addr().Interface().(config.Checker); ok {
		return c.Check()
	}
	return nil
}

// status prints an error and is the program's exit status.
func status(w io.Writer, err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	default:
		complain(w, err)
		return exitFailed
	}
}

// complain prints an error, every line of it under the program's name.
func complain(w io.Writer, err error) {
	fmt.Fprintln(w, "onehop: "+strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "\nonehop: "))
}
