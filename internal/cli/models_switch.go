package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/inference/repository"
	"github.com/onehop/onehop/inference/switches"
	"github.com/onehop/onehop/inference/traffic"
)

// switchFlags are common to what switches a model.
type switchFlags struct {
	Model         string        `arg:"" help:"Name of the model."`
	Reason        string        `help:"Why, for the record."`
	Who           string        `help:"Who switches, for the record; without it the user of this system."`
	Wait          time.Duration `default:"5s" help:"How long to wait for the instances of infer to say what became of it; it ends when all that speak have."`
	Namespace     string        `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	postgresFlags `embed:""`
	JSON          bool `name:"json" help:"Print JSON."`
}

// maxSwitchReason is that of SwitchModel.
const maxSwitchReason = 1024

// Check returns everything that is wrong with the flags.
func (f *switchFlags) Check() error {
	var problems []error
	if f.Wait < 0 {
		problems = append(problems, errors.New("--wait must not be negative"))
	}
	if utf8.RuneCountInString(f.Reason) > maxSwitchReason {
		problems = append(problems, fmt.Errorf("--reason has more than %d characters", maxSwitchReason))
	}
	return errors.Join(append(problems, f.postgresFlags.Check())...)
}

// do switches, and tells what became of it.
func (f *switchFlags) do(ctx context.Context, s Streams, store *switches.Store, change switches.Change) error {
	change.Model, change.Who, change.Reason = f.Model, f.Who, f.Reason
	if change.Who == "" {
		account, err := user.Current()
		if err != nil {
			return fmt.Errorf("cannot tell who switches: give --who: %w", err)
		}
		change.Who = account.Username
	}
	made, err := store.Switch(ctx, change)
	if err != nil {
		return err
	}
	if made, err = f.await(ctx, store, made.ID); err != nil {
		return err
	}
	if f.JSON {
		err = writeJSON(s.Out, made)
	} else {
		writeSwitch(s.Out, made)
	}
	if err != nil {
		return err
	}
	for _, o := range made.Outcomes {
		if o.Problem != "" {
			fmt.Fprintf(s.Err, refusedHint, f.Model)
			return exitError(exitFailed)
		}
	}
	return nil
}

// refusedHint says what to do about a switch that an instance refused; it wants the model.
const refusedHint = "An instance that refused it keeps what it had in force before, until what the switch lacks is there: then it comes into force. Take the switch back: " +
	"onehop models rollback %[1]s, which goes to the newest other state that an instance took; --to SWITCH goes to any (onehop models history %[1]s), and onehop models switch %[1]s --from-file gives the model back to its serving.yaml.\n"

// quiet is how long no instance says anything when all have.
const quiet = 300 * time.Millisecond

// await waits until the instances have said what became of a switch, or a later one has come before, for as long as that may take. How
// many there are nobody knows: they all follow at once, so that who is silent after the others is away.
func (f *switchFlags) await(ctx context.Context, store *switches.Store, id int64) (*switches.Switch, error) {
	deadline := time.NewTimer(f.Wait)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	spoken, since := 0, time.Now()
	for {
		made, err := store.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if n := len(made.Outcomes); n != spoken {
			spoken, since = n, time.Now()
		}
		if spoken > 0 && time.Since(since) >= quiet || made.SupersededBy > 0 {
			return made, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-deadline.C:
			return made, nil
		case <-tick.C:
		}
	}
}

// modelsSwitchCommand switches.
type modelsSwitchCommand struct {
	switchFlags `embed:""`
	Default     version  `placeholder:"VERSION" help:"The version for requests that name none: a number, an alias or newest."`
	Alias       []string `placeholder:"NAME=NUMBER" help:"A name for a version; NAME=0 takes the name away."`
	Canary      string   `placeholder:"VERSION:PERCENT" help:"Try a version on a share of the requests; none ends that, and an A/B test."`
	AB          []string `name:"ab" placeholder:"NAME=VERSION:PERCENT" help:"The variants of an A/B test, one flag each."`
	By          string   `placeholder:"ENTITY" help:"The entity by which an A/B test is split."`
	Shadow      string   `placeholder:"VERSION:PERCENT" help:"Have a version answer a share of the requests once more, unseen; none ends that."`
	Infer       string   `env:"ONEHOP_INFER" default:"http://127.0.0.1:8082" placeholder:"URL" help:"The address of infer, which is asked whether it has the model, and the aliases that are taken away."`
	File        string   `placeholder:"FILE" help:"Take all of that from a file such as serving.yaml."`
	FromFile    bool     `help:"Give the model back to its serving.yaml."`

	change switches.Change
}

// Help is printed by --help.
func (*modelsSwitchCommand) Help() string {
	return "What is not named stays as it is: by the last switch, or by serving.yaml. The exit status is 1 when an instance " +
		"refused the switch; then it has in force what it had before.\n\n" +
		"Example:\n\n    onehop models switch movie_ranker --canary 2:5\n    onehop models switch movie_ranker --default 2 --canary none\n" +
		"    onehop models switch movie_ranker --ab a=1:50 --ab b=2:50 --by user\n    onehop models switch movie_ranker --shadow 3:10\n" +
		"    onehop models switch movie_ranker --from-file"
}

// Check returns everything that is wrong with the flags.
func (c *modelsSwitchCommand) Check() error {
	t, err := c.traffic()
	c.change = switches.Change{Action: switches.Set, Traffic: t}
	switch {
	case err != nil:
	case c.FromFile && !t.Empty():
		err = errors.New("--from-file goes alone: it takes back all that was switched")
	case c.FromFile:
		c.change.Action = switches.FromFile
	case t.Empty():
		err = errors.New("say what to switch: --default, --alias, --canary, --ab, --shadow, --file or --from-file")
	default:
		err = t.Check()
	}
	return errors.Join(c.switchFlags.Check(), (&inferFlags{Infer: c.Infer}).Check(), err)
}

// traffic is what the flags say.
func (c *modelsSwitchCommand) traffic() (t traffic.Traffic, err error) {
	if c.File != "" {
		text, err := os.ReadFile(c.File)
		if err != nil {
			return t, fmt.Errorf("--file: %w", err)
		}
		if t, err = repository.ParseServing(c.File, text); err != nil {
			return t, err
		}
	}
	var flags traffic.Traffic
	flags.Default = string(c.Default)
	var problems []error
	for _, text := range c.Alias {
		alias, number, _ := strings.Cut(text, "=")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			problems = append(problems, fmt.Errorf("--alias: %q is not NAME=NUMBER", text))
		}
		if flags.Aliases == nil {
			flags.Aliases = map[string]int64{}
		}
		flags.Aliases[alias] = n
	}
	if c.Canary != "" {
		flags.Split = &traffic.Split{}
		flags.Split.Canary, err = shareOf("--canary", c.Canary)
		problems = append(problems, err)
	}
	if len(c.AB) == 0 && c.By != "" {
		problems = append(problems, errors.New("--by: it is for an A/B test: give its variants too, --ab NAME=VERSION:PERCENT each"))
	}
	if len(c.AB) > 0 {
		if flags.Split == nil {
			flags.Split = &traffic.Split{}
		}
		flags.Split.AB, err = abOf(c.By, c.AB)
		problems = append(problems, err)
	}
	if c.Shadow != "" {
		if flags.Shadow, err = shareOf("--shadow", c.Shadow); flags.Shadow == nil {
			flags.Shadow = &traffic.Share{}
		}
		problems = append(problems, err)
	}
	return flags.Over(t), errors.Join(problems...)
}

// shareOf reads VERSION:PERCENT; none is nil.
func shareOf(flag, text string) (*traffic.Share, error) {
	if text == "none" {
		return nil, nil
	}
	version, percent, found := strings.Cut(text, ":")
	p, err := strconv.ParseFloat(strings.TrimSuffix(percent, "%"), 64)
	if err != nil || !found {
		return nil, fmt.Errorf("%s: %q is not VERSION:PERCENT, for example 2:5", flag, text)
	}
	return &traffic.Share{Version: version, Percent: p}, nil
}

func abOf(by string, variants []string) (*traffic.AB, error) {
	ab := &traffic.AB{By: by}
	for _, text := range variants {
		name, rest, found := strings.Cut(text, "=")
		share, err := shareOf("--ab", rest)
		if err != nil || share == nil || !found {
			return nil, fmt.Errorf("--ab: %q is not NAME=VERSION:PERCENT, for example a=2:50", text)
		}
		ab.Variants = append(ab.Variants, traffic.Variant{Name: name, Version: share.Version, Percent: share.Percent})
	}
	return ab, nil
}

// Run switches.
func (c *modelsSwitchCommand) Run(ctx context.Context, s Streams) error {
	pool, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	store := switches.New(pool, c.Namespace)
	if err := c.checkThere(ctx, s, store); err != nil {
		return err
	}
	return c.do(ctx, s, store, c.change)
}

// modelsRollbackCommand goes back.
type modelsRollbackCommand struct {
	switchFlags `embed:""`
	To          int64 `placeholder:"SWITCH" help:"Go back to what this switch made, instead of to the newest other state that was in force."`
}

// Help is printed by --help.
func (*modelsRollbackCommand) Help() string {
	return "It goes to the newest state before the last switch, and other than it, that an instance of infer took, and says which: never to one that " +
		"was refused by all or overtaken. Where there is none, it goes to serving.yaml.\n\n" +
		"A rollback is a switch too: rolled back itself, it brings back what it took away.\n\n" +
		"Example:\n\n    onehop models rollback movie_ranker --reason 'clicks fell'"
}

// Run goes back.
func (c *modelsRollbackCommand) Run(ctx context.Context, s Streams) error {
	pool, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	store := switches.New(pool, c.Namespace)
	if c.To > 0 {
		if err := c.tellRefused(ctx, s, store); err != nil {
			return err
		}
	}
	return c.do(ctx, s, store, switches.Change{Action: switches.Rollback, To: c.To})
}

// tellRefused warns of a state that instances refused when they last said what became of it. It is tried again all the same: what it lacked may
// be there by now.
func (c *modelsRollbackCommand) tellRefused(ctx context.Context, s Streams, store *switches.Store) error {
	wanted, err := store.Get(ctx, c.To)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && wanted.Model != c.Model {
		return nil // which the rollback itself refuses
	}
	if err != nil {
		return err
	}
	last := map[string]switches.Outcome{}
	for _, o := range wanted.Outcomes { // oldest first
		last[o.Instance] = o
	}
	for _, instance := range slices.Sorted(maps.Keys(last)) {
		if o := last[instance]; o.Problem != "" {
			fmt.Fprintf(s.Err, "Switch %d is tried again, though %s refused it at %s: %s\n", c.To, instance, o.At.UTC().Format(time.RFC3339), o.Problem)
		}
	}
	return nil
}
