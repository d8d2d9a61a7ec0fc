package servers

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// dieWithParent sets up a child that is killed when we die, and that a Ctrl-C in the terminal doesn't reach: its owner
// stops it in good order.
func dieWithParent(attr *syscall.SysProcAttr) {
	attr.Pdeathsig = syscall.SIGKILL
	attr.Setpgid = true
}

// capDACOverride is CAP_DAC_OVERRIDE of linux/capability.h: file permissions don't count.
const capDACOverride = 1

// passAnywhere lets the child enter directories that are closed to its user.
func passAnywhere(attr *syscall.SysProcAttr) { attr.AmbientCaps = []uintptr{capDACOverride} }

// descendants returns the living children of the process, their children, and so on.
func descendants(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if parent, ok := parentOf(child); ok {
			children[parent] = append(children[parent], child)
		}
	}
	found := children[pid]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// parentOf reads the fourth field of /proc/PID/stat; see proc(5). The second, the command's name, may hold anything, so the
// search begins at its closing parenthesis.
func parentOf(pid int) (int, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}
