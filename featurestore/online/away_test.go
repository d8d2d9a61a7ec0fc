package online

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// TestAServerThatIsGoneIsToldSoon: before the deadline of a caller who has half a second.
func TestAServerThatIsGoneIsToldSoon(t *testing.T) {
	server := miniredis.RunT(t)
	client, err := Connect("redis://" + server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := client.Get(ctx, "key").Err(); err == nil || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
}
