// Command with runs a command with real servers: it starts Kafka, Redis and PostgreSQL once, names them to the command in
// the environment as package testenv expects, stops them afterwards and tells what the command ran against.
//
//	go run ./internal/testenv/with -- go test ./...
//
// Its exit status is that of the command. Servers that the environment names already are used as they are.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/onehop/onehop/internal/testenv"
)

const (
	// startTimeout bounds the start of all servers, downloads included.
	startTimeout = 10 * time.Minute
	// grace is how long the command may take to end after an interrupt.
	grace = 15 * time.Second
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, args, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "with:", err)
	}
	os.Exit(code)
}

// run returns the exit status to end with.
func run(ctx context.Context, args []string, out io.Writer) (code int, err error) {
	if len(args) == 0 {
		return 2, errors.New("say what to run, as in `with -- go test ./pkg`")
	}
	kinds := []testenv.Kind{testenv.KindKafka, testenv.KindRedis, testenv.KindPostgres}
	started, err := startAll(ctx, kinds)
	defer func() {
		for _, server := range started {
			if server != nil {
				err = errors.Join(err, server.Stop())
			}
		}
		if err != nil {
			code = max(code, 1)
		}
	}()
	if err != nil {
		return 1, err
	}
	var env, descriptions []string
	for i, server := range started {
		env = append(env, kinds[i].Env()+"="+server.URL)
		descriptions = append(descriptions, server.Description)
	}
	code, err = command(ctx, args, env)
	fmt.Fprintf(out, "\nRan against: %s\n", strings.Join(descriptions, ", "))
	return code, err
}

// startAll starts the servers at the same time. Those that started are returned with the errors of the others.
func startAll(ctx context.Context, kinds []testenv.Kind) ([]*testenv.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	started, errs := make([]*testenv.Server, len(kinds)), make([]error, len(kinds))
	var all sync.WaitGroup
	for i, kind := range kinds {
		all.Go(func() { started[i], errs[i] = testenv.Start(ctx, kind) })
	}
	all.Wait()
	return started, errors.Join(errs...)
}

// command runs the command to its end and returns its exit status.
func command(ctx context.Context, args, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("run %s: %w", args[0], err)
	}
	return 0, nil
}
