// Command kafkajars prints the directory of Apache Kafka's jars, fetching them first if needed; build-images.sh puts them
// into an image.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/onehop/onehop/internal/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := servers.KafkaJars(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(dir)
}
