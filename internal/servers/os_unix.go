//go:build unix && !linux

package servers

import "syscall"

// dieWithParent can't be had here; at least a Ctrl-C in the terminal doesn't reach the child: its owner stops it.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Setpgid = true }

// passAnywhere can't be had here.
func passAnywhere(*syscall.SysProcAttr) {}

// descendants are unknown here.
func descendants(int) []int { return nil }
