//go:build unix

package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"

	"github.com/onehop/onehop/internal/cache"
)

const (
	suspendSignal = syscall.SIGSTOP
	resumeSignal  = syscall.SIGCONT
)

func sendSignal(pid int, signal syscall.Signal) error {
	err := syscall.Kill(pid, signal)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// account is the user a server runs as when we are root and the server refuses to.
type account struct {
	uid, gid uint32
	override bool // its data lie where the user's permissions alone don't reach
}

// unprivileged returns who shall run a server that keeps its data in the directory, which becomes theirs, and its program
// at the path: nil for ourselves, unless we are root.
func unprivileged(ctx context.Context, data, program string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // No account needed and no error.
	}
	info, err := os.Stat(data)
	if err != nil {
		return nil, err
	}
	var a *account
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
		a = &account{uid: stat.Uid, gid: stat.Gid} // Data of an earlier start.
	} else if a, err = lookupAccount(); err != nil {
		return nil, err
	}
	if err := a.own(data); err != nil {
		return nil, err
	}
	if !a.reaches(ctx, program) {
		return nil, fmt.Errorf("user %d may not run %s: open the directories above it, as with `chmod a+x`, or don't be root",
			a.uid, program)
	}
	a.override = !a.reaches(ctx, data)
	return a, nil
}

// lookupAccount finds an unprivileged user of this system.
func lookupAccount() (*account, error) {
	for _, name := range []string{"postgres", "nobody"} {
		known, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(known.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(known.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &account{uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("%w: an unprivileged user to run the server as: add one called postgres, or don't be root",
		ErrNotInstalled)
}

// reaches tells whether the account may execute the file or enter the directory.
func (a *account) reaches(ctx context.Context, path string) bool {
	check := exec.CommandContext(ctx, "/bin/sh", "-c", `test -x "$0"`, path)
	check.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential()}
	check.Dir = "/"
	return check.Run() == nil
}

// own gives the file to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

func (a *account) credential() *syscall.Credential {
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// apply makes a child run as the account.
func (a *account) apply(attr *syscall.SysProcAttr) {
	attr.Credential = a.credential()
	if a.override {
		passAnywhere(attr)
	}
}

// openCache returns a cache directory whose programs the unprivileged user can run: ours, unless we are root and ours is
// closed to others, as one in root's home is.
func openCache(ctx context.Context) (string, error) {
	dir, err := cache.Dir()
	if err != nil || os.Geteuid() != 0 {
		return dir, err
	}
	if a, err := lookupAccount(); err != nil || a.reaches(ctx, dir) {
		return dir, err
	}
	const shared = "/var/cache/onehop"
	if err := os.MkdirAll(shared, 0o755); err != nil {
		return "", fmt.Errorf("cache for programs that don't run as root: %w; set ONEHOP_CACHE to a directory that all users "+
			"may enter", err)
	}
	return shared, nil
}
