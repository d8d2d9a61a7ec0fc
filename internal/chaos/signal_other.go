//go:build !unix

package chaos

import "syscall"

// No process can be stopped here: sending these fails.
const (
	stopSignal     = syscall.Signal(-1)
	continueSignal = syscall.Signal(-2)
)
