// Command infer runs the infer service; see package internal/app/infer.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/onehop/onehop/internal/app/infer"
	"github.com/onehop/onehop/internal/config"
)

func main() {
	c := infer.Config{Log: os.Stderr}
	config.Parse("infer", description, &c, map[string]string{"listen": "127.0.0.1:8082"})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := infer.Run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "infer:", err)
		os.Exit(1)
	}
}

const description = `Answers InferenceService: reads the features of a request's entities from Redis and
scores its candidates with an ONNX model, in one hop.`
