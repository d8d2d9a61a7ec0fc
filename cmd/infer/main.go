// Command infer runs the infer service; see package internal/app/infer.
package main

import (
	"context"
	"os"

	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/app/infer"
	"github.com/onehop/onehop/internal/config"
)

func main() {
	c := infer.Config{Log: os.Stderr}
	config.Parse("infer", description, &c, map[string]string{"listen": "127.0.0.1:8082"})
	app.Main("infer", c.DrainTimeout, func(ctx context.Context) error { return infer.Run(ctx, c) })
}

const description = `Answers InferenceService: reads the features of a request's entities from Redis and
scores its candidates with an ONNX model, in one hop.`
