// Command run breaks Onehop's processes and servers, at full size unless told otherwise,
// and checks that every event is everywhere exactly once:
//
//	go run ./internal/chaos/run                      # the whole table, about two hours
//	go run ./internal/chaos/run -fault kill,flush    # some faults
//	go run ./internal/chaos/run -seed 7 -fault kill  # the same events, moments and victims again
//
// Its exit status is 1 when a fault failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/onehop/onehop/internal/chaos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	names := flag.String("fault", "", "faults to run, by commas; all if empty")
	seed := flag.Uint64("seed", 0, "what decides events, moments and victims; 0 draws one")
	short := flag.Bool("short", false, "the size that CI runs")
	out := flag.String("out", "", "a directory for a JSON file of each result; none if empty")
	times := flag.Int("times", 0, "repeats of each fault instead of the table's")
	within := flag.Duration("within", 4*time.Hour, "a bound for everything")
	flag.Parse()
	faults, err := pick(*names)
	if err != nil {
		return err
	}
	if *seed == 0 {
		*seed = 1 + rand.Uint64N(1<<32)
	}
	fmt.Printf("CHAOS_SEED=%d\n", *seed)
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	world, err := chaos.NewWorld(ctx, ".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.Close()) }()
	var results []*chaos.Result
	failed := 0
	for _, f := range faults {
		if *times > 0 {
			f.Short.Times, f.Full.Times = *times, *times
		}
		fmt.Printf("%s: %s\n", f.Name, f.What)
		result := chaos.Run(ctx, world, f, !*short, *seed, sayf)
		results = append(results, result)
		if !result.OK() {
			failed++
			fmt.Printf("FAILED: %s\n%s\n", result.Error, strings.Join(result.Problems, "\n"))
		}
		if *out != "" {
			err = errors.Join(err, result.Save(*out))
		}
		if ctx.Err() != nil {
			break
		}
	}
	chaos.WriteTable(os.Stdout, results)
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d faults failed", failed, len(results)))
	}
	return err
}

func pick(names string) (faults []*chaos.Fault, err error) {
	wanted := strings.FieldsFunc(names, func(r rune) bool { return r == ',' })
	for i := range chaos.Faults {
		f := &chaos.Faults[i]
		if len(wanted) == 0 || slices.Contains(wanted, f.Name) {
			faults = append(faults, f)
		}
	}
	if len(faults) < len(wanted) {
		return nil, fmt.Errorf("-fault %s: the faults are %s", names, strings.Join(all(), ", "))
	}
	return faults, nil
}

func all() (names []string) {
	for _, f := range chaos.Faults {
		names = append(names, f.Name)
	}
	return names
}

func sayf(format string, args ...any) {
	fmt.Printf("  %s  %s\n", time.Now().UTC().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
