// Command serve runs the serve service; see package internal/app/serve.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/onehop/onehop/internal/app/serve"
	"github.com/onehop/onehop/internal/config"
)

func main() {
	c := serve.Config{Log: os.Stderr}
	config.Parse("serve", description, &c, map[string]string{"listen": "127.0.0.1:8081"})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve.Run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

const description = `Answers FeatureService: the features of entities as of now, from the rows in Redis; and
takes events for producers without a Kafka client.`
