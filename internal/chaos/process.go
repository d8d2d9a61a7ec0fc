package chaos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/onehop/onehop/internal/servers"
)

// Process is a running service.
type Process struct {
	name  string
	admin string // URL
	// instance is the name that it keeps over its lives, of a member of the cluster fault.
	instance string
	cmd      *exec.Cmd
	log      tail
	done     chan struct{}
	err      error // how it ended; set before done is closed
}

// tail keeps the last bytes of a log, and whether the race detector spoke.
type tail struct {
	mu   sync.Mutex
	text []byte
	race bool
}

const tailBytes = 32 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.race = t.race || bytes.Contains(p, []byte("DATA RACE"))
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailBytes; extra > 0 {
		t.text = append([]byte(nil), t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) read() (text string, race bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text), t.race
}

// spawn starts a service. The stand ends it at the latest.
func (s *Stand) spawn(ctx context.Context, name string, environment ...string) (*Process, error) {
	dir, err := s.world.binaries(ctx, s.fault.Race)
	if err != nil {
		return nil, err
	}
	port, err := servers.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	admin := "127.0.0.1:" + strconv.Itoa(port)
	p := &Process{name: name, admin: "http://" + admin, done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(dir, name))
	p.cmd.Env = append(append(p.cmd.Environ(), s.environment()...), append(environment, "ONEHOP_ADMIN_LISTEN="+admin)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	s.processes = append(s.processes, p)
	return p, nil
}

// Kill ends the process without warning.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // what is gone already needs no signal
	<-p.done
}

// Pause stops the process as it stands, until Resume.
func (p *Process) Pause() error { return p.cmd.Process.Signal(stopSignal) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.cmd.Process.Signal(continueSignal) }

// Leave asks the process to end, as an orchestrator does.
func (p *Process) Leave() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// Left waits for a process that was asked to end, and fails when it does not end well.
func (p *Process) Left(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s did not end within 30 s of SIGTERM", p.name)
	}
	text, race := p.log.read()
	switch {
	case race:
		return fmt.Errorf("%s has a data race; its log ends with:\n%s", p.name, text)
	case p.err != nil:
		return fmt.Errorf("%s ended badly after SIGTERM: %w; its log ends with:\n%s", p.name, p.err, text)
	}
	return nil
}

func (p *Process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Ready waits until the service says that it is ready.
func (p *Process) Ready(ctx context.Context) error {
	return eventually(ctx, 60*time.Second, p.name+" is ready", func(ctx context.Context) error {
		if !p.running() {
			text, _ := p.log.read()
			return stop(fmt.Errorf("it ended: %w\n%s", p.err, text))
		}
		_, err := get(ctx, p.admin+"/readyz")
		return err
	})
}

// PeakMemory is the largest resident memory that the process has had, in bytes. Only Linux
// tells.
func (p *Process) PeakMemory() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("the memory of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("the memory of %s: no VmHWM", p.name)
}

// Metric adds up the series of a metric whose labels contain a text; 0 when there are none.
func (p *Process) Metric(ctx context.Context, name, labels string) (sum float64, err error) {
	page, err := get(ctx, p.admin+"/metrics")
	for line := range strings.Lines(page) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(series, name) && strings.Contains(series, labels) {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("metric %s: %w", name, err)
			}
			sum += n
		}
	}
	return sum, err
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, res.Status, body)
	}
	return string(body), err
}
