//go:build !unix

package servers

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/onehop/onehop/internal/cache"
)

const (
	suspendSignal = syscall.Signal(-1)
	resumeSignal  = syscall.Signal(-2)
)

func dieWithParent(*syscall.SysProcAttr) {}

func descendants(int) []int { return nil }

// sendSignal knows one way to end a process here, and none to suspend it.
func sendSignal(pid int, signal syscall.Signal) error {
	if signal == suspendSignal || signal == resumeSignal {
		return errors.New("processes can't be suspended on this system")
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Kill()
}

type account struct{}

func unprivileged(context.Context, string, string) (*account, error) { return nil, nil }

func (*account) own(string) error { return nil }

func (*account) apply(*syscall.SysProcAttr) {}

func openCache(context.Context) (string, error) { return cache.Dir() }
