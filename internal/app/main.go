package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// hanging is how long a service may take to end after its drain timeout.
const hanging = 10 * time.Second

// Main runs a service until SIGINT or SIGTERM, and ends the process when it fails. It ends it too at a second signal, or when the service has not
// ended some time after its drain timeout: what reads from a file system that is away comes back never.
func Main(name string, drain time.Duration, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer watchEnd(ctx, stop, name, drain+hanging, os.Stderr, os.Exit)()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// watchEnd exits some time after the context ended, unless it is told before that all is well.
func watchEnd(ctx context.Context, stop func(), name string, after time.Duration, out io.Writer, exit func(int)) (well func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		stop() // so that a second signal ends the process as it does others
		limit := time.NewTimer(after)
		defer limit.Stop()
		select {
		case <-ended:
		case <-limit.C:
			fmt.Fprintf(out, "%s: it has not ended %s after it was told to: something hangs\n", name, after)
			exit(1)
		}
	}()
	return func() {
		close(ended)
		<-done
	}
}
