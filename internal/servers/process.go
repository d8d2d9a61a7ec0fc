package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// quitGrace is how long a server may take to end by itself before it is killed.
const quitGrace = 20 * time.Second

// command is what to run, and as whom.
type command struct {
	path string
	args []string // without the program's name
	env  []string // added to ours
	as   *account // nil: as ourselves
}

// cmd prepares the command. It isn't bound to a context: the process ends when its owner says so.
func (c *command) cmd() *exec.Cmd {
	attr := &syscall.SysProcAttr{}
	if c.as != nil {
		c.as.apply(attr)
	}
	return &exec.Cmd{
		Path:        c.path,
		Args:        append([]string{c.path}, c.args...),
		Env:         append(os.Environ(), c.env...),
		Dir:         string(os.PathSeparator), // Ours may be closed to the account.
		SysProcAttr: attr,
	}
}

// process is a child and the goroutine that waits for it.
type process struct {
	pid  int
	done chan struct{}
	err  error // how it ended; set before done is closed, never nil
}

// startProcess runs the command with its output appended to the log file.
func startProcess(c *command, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	cmd := c.cmd()
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd.SysProcAttr)

	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux kills the child when the thread that started it ends, so this goroutine keeps its thread as long as
		// the child lives. It is not unlocked: the thread is thrown away with the goroutine.
		runtime.LockOSThread()
		err := errors.Join(cmd.Start(), log.Close()) // The child has its own descriptor.
		started <- err
		if cmd.Process == nil {
			return
		}
		p.err = cmd.Wait()
		if p.err == nil {
			p.err = errors.New("exit status 0")
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// end sends the signal and waits for the process to end, killing it with its children when it takes too long; signal 0
// kills at once.
func (p *process) end(signal syscall.Signal) {
	if signal != 0 {
		p.signal(signal)
		_ = p.signalAll(resumeSignal) // Suspended processes wouldn't hear.
		timer := time.NewTimer(quitGrace)
		defer timer.Stop()
		select {
		case <-p.done:
			return
		case <-timer.C:
		}
	}
	_ = p.signalAll(syscall.SIGKILL) // What is gone already needs no signal.
	<-p.done
}

func (p *process) signal(signal syscall.Signal) {
	if !p.ended() {
		_ = sendSignal(p.pid, signal) // It may end this very moment.
	}
}

// signalAll reaches the process and all its descendants.
func (p *process) signalAll(signal syscall.Signal) error {
	if p.ended() {
		return errors.New("the server doesn't run")
	}
	var errs []error
	for _, pid := range append([]int{p.pid}, descendants(p.pid)...) {
		if err := sendSignal(pid, signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// runBound runs a prepared command to its end, killing it when ctx ends, and returns its output.
func runBound(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	bound := exec.CommandContext(ctx, cmd.Path)
	bound.Args, bound.Env, bound.Dir, bound.SysProcAttr = cmd.Args, cmd.Env, cmd.Dir, cmd.SysProcAttr
	return bound.CombinedOutput()
}
