//go:build !unix

package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Lock creates the file at path and holds it until unlock removes it; it waits for another holder until ctx ends. After a
// crash the file has to be removed by hand, as the error says.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	path += ".held"
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil {
			_ = file.Close()
			return func() { _ = os.Remove(path) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("create lock file: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the holder of %s (remove the file if there is none): %w", path, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
