package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// healthCommand asks a service whether it is well; images without curl use it for their
// health checks.
type healthCommand struct {
	URL     string        `arg:"" help:"What to get, for example http://127.0.0.1:8081/readyz."`
	Timeout time.Duration `env:"ONEHOP_HEALTH_TIMEOUT" default:"3s" help:"How long to wait for the whole answer."`
}

// Help is printed by --help.
func (*healthCommand) Help() string {
	return "The exit status is 0 when the answer is 200, else 1 with the reason on stderr.\n\n" +
		"Example:\n\n    onehop health http://127.0.0.1:8081/readyz"
}

// Check returns everything that is wrong with the flags.
func (c *healthCommand) Check() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is not a URL such as http://127.0.0.1:8081/readyz", c.URL)
	}
	if c.Timeout <= 0 {
		return errors.New("--timeout must be longer than nothing")
	}
	return nil
}

// maxReason bounds what is printed of an answer.
const maxReason = 4096

// Run asks.
func (c *healthCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return fmt.Errorf("asking for its health: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("not healthy: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	reason, err := io.ReadAll(io.LimitReader(response.Body, maxReason))
	if err != nil {
		return fmt.Errorf("not healthy: GET %s: reading the answer: %w", request.URL.Redacted(), err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: GET %s: %s: %s", request.URL.Redacted(), response.Status, strings.TrimSpace(string(reason)))
	}
	return nil
}
