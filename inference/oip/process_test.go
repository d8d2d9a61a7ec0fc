package oip_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/servers"
)

const (
	installTimeout = 4 * time.Minute
	startTimeout   = time.Minute
	stopTimeout    = 30 * time.Second
)

// install installs a server if need be and gives its directory of programs. Where pip can't install it, the test is skipped and says so.
func install(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	script := exec.CommandContext(ctx, "../../scripts/modelserver.sh", name)
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	script.Cancel = func() error { return syscall.Kill(-script.Process.Pid, syscall.SIGKILL) }
	var stderr bytes.Buffer
	script.Stderr = &stderr
	bin, err := script.Output()
	if err != nil {
		t.Skipf("SKIPPED, nothing was tested: %s cannot be installed: %v\n%s", name, err, stderr.Bytes())
	}
	return string(bytes.TrimSpace(bin))
}

// freePorts gives so many ports of 127.0.0.1.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		var err error
		if ports[i], err = servers.FreePort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return ports
}

// process is a server that runs beside the test.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
	log     bytes.Buffer // whole when it ended
}

// start starts a program and waits until the URL answers that it is ready. It is killed at the end of the test.
func start(t *testing.T, ready, program string, args ...string) *process {
	t.Helper()
	p := &process{command: exec.Command(program, args...), ended: make(chan struct{})} //nolint:noctx // it ends when the test says so
	p.command.Stdout, p.command.Stderr = &p.log, &p.log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // it is killed
	}()
	t.Cleanup(p.kill)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !answers(ctx, ready) {
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
			p.kill()
		case <-p.ended:
		}
		t.Fatalf("%s did not start: %v\n%s", filepath.Base(program), ctx.Err(), p.log.Bytes())
	}
	return p
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }() // only read from
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

// ready is where a server says by HTTP that a model can be run.
func ready(port int, model string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/v2/models/%s/ready", port, model)
}

// stop asks the process to end and waits for it; it kills it when that takes long.
func (p *process) stop() {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = syscall.Kill(p.command.Process.Pid, syscall.SIGINT) // it may end by itself
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.kill()
	}
}

// kill ends the process with its children, and waits for it.
func (p *process) kill() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	<-p.ended
}
