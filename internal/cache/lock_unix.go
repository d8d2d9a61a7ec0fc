//go:build unix

package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockPoll is how often a waiting Lock tries again: flock can't be interrupted by a context.
const lockPoll = 50 * time.Millisecond

// Lock takes the exclusive lock of the file at path, creating the file if needed, and waits for it until ctx ends. The
// system releases the lock when the process dies. The file itself stays.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = file.Close() }, nil // Closing the only descriptor releases the lock.
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(
				fmt.Errorf("wait for the process that holds %s: %w", path, context.Cause(ctx)), file.Close())
		case <-tick.C:
		}
	}
}
