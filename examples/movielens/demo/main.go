// Command demo shows Onehop at work on real events: it starts Kafka, Redis, Postgres
// and the three services, sends 100,000 ratings of MovieLens, waits until every one is
// in the features, and asks for recommendations over the network.
//
//	go run ./examples/movielens/demo
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type options struct {
	JSON      bool   `help:"Print one JSON object instead of text."`
	Keep      bool   `help:"Leave everything running until Ctrl-C."`
	Example   string `default:"examples/movielens" placeholder:"DIR" help:"The directory of the definitions and models."`
	Generated int    `placeholder:"N" help:"Use N generated ratings instead of MovieLens."`
	Calls     int    `default:"2000" placeholder:"N" help:"How many predictions to time."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Name("demo"), kong.Description("Starts Onehop and all that it runs on, feeds it 100,000 ratings, and prints recommendations."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout, newProgress(os.Stderr))
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "demo: interrupted; everything is stopped")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
