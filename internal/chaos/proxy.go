package chaos

import (
	"context"
	"fmt"
	"strings"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Proxy is the network between the services and one server.
type Proxy struct{ proxy *toxiproxy.Proxy }

// newProxy listens on a port of 127.0.0.1, 0 for any, and leads to an address.
func newProxy(name string, port int, upstream string) (*Proxy, error) {
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := &Proxy{toxiproxy.NewProxy(api, name, fmt.Sprintf("127.0.0.1:%d", port), upstream)}
	if err := p.proxy.Start(); err != nil {
		return nil, fmt.Errorf("the proxy for %s: %w", name, err)
	}
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string {
	p.proxy.Lock()
	defer p.proxy.Unlock()
	return p.proxy.Listen
}

// Cut closes all connections and takes no new ones.
func (p *Proxy) Cut() { p.proxy.Stop() }

// Mend ends a Cut.
func (p *Proxy) Mend() error { return p.proxy.Start() }

// Lead closes all connections and leads new ones to another address.
func (p *Proxy) Lead(upstream string) error {
	p.proxy.Stop()
	p.proxy.Lock()
	p.proxy.Upstream = upstream
	p.proxy.Unlock()
	return p.proxy.Start()
}

// The ways to harm a connection without closing it.
const (
	// silence lets nothing through.
	silence = `{"type": "timeout", "attributes": {"timeout": 0}}`
	// sloth delays everything that a server says.
	sloth = `{"type": "latency", "attributes": {"latency": 150, "jitter": 100}}`
)

// Harm applies one of the ways, and returns how to end it.
func (p *Proxy) Harm(toxic string) (end func(context.Context) error, err error) {
	added, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
	if err != nil {
		return nil, fmt.Errorf("harming the network: %w", err)
	}
	return func(ctx context.Context) error { return p.proxy.Toxics.RemoveToxic(ctx, added.Name) }, nil
}
