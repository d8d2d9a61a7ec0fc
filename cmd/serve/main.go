// Command serve runs the serve service; see package internal/app/serve.
package main

import (
	"context"
	"os"

	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/app/serve"
	"github.com/onehop/onehop/internal/config"
)

func main() {
	c := serve.Config{Log: os.Stderr}
	config.Parse("serve", description, &c, map[string]string{"listen": "127.0.0.1:8081"})
	app.Main("serve", c.DrainTimeout, func(ctx context.Context) error { return serve.Run(ctx, c) })
}

const description = `Answers FeatureService: the features of entities as of now, from the rows in Redis; and
takes events for producers without a Kafka client.`
