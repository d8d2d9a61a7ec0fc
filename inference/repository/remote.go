package repository

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/onehop/onehop/inference/oip"
)

// maxRemoteName bounds the names that a model has on its servers.
const maxRemoteName = 256

// tokenPattern keeps a model.yaml from sending other secrets of the environment to a server that it names.
var tokenPattern = regexp.MustCompile(`^ONEHOP_MODEL_TOKEN(_[A-Z0-9_]{1,64})?$`)

func (d *decoder) remote(n ast.Node) *oip.Options {
	o := &oip.Options{}
	seen := d.fields(n, map[string]func(ast.Node){
		"endpoints":   func(n ast.Node) { o.Endpoints = d.endpoints(n) },
		"model":       func(n ast.Node) { o.Model = d.short(n) },
		"version":     func(n ast.Node) { o.Version = d.short(n) },
		"timeout":     func(n ast.Node) { o.Timeout = d.timeout(n) },
		"connections": func(n ast.Node) { o.Connections = d.whole(n, oip.MaxConnections) },
		"tls":         func(n ast.Node) { o.TLS = d.yes(n) },
		"token_from":  func(n ast.Node) { o.TokenFrom = d.tokenFrom(n) },
	})
	d.require(n, seen, "endpoints", "model")
	if o.TokenFrom != "" && !o.TLS {
		d.reportf(n, "a token is only sent over TLS: say tls: true")
	}
	return o
}

func (d *decoder) endpoints(n ast.Node) []string {
	var endpoints []string
	for _, entry := range d.sequence(n) {
		address := d.text(entry)
		host, port, err := net.SplitHostPort(address)
		number, portErr := strconv.Atoi(port)
		switch {
		case address == "":
		case err != nil || portErr != nil || host == "" || number < 1 || number > 65535 || len(address) > maxRemoteName:
			d.reportf(entry, "%q is no endpoint: want host:port, like triton:8001", address)
		case slices.Contains(endpoints, address):
			d.reportf(entry, "endpoint %q is listed twice", address)
		}
		endpoints = append(endpoints, address)
	}
	if len(endpoints) > oip.MaxEndpoints {
		d.reportf(n, "%d endpoints are listed; at most %d can be", len(endpoints), oip.MaxEndpoints)
	}
	return endpoints
}

// short reads a text of bounded length.
func (d *decoder) short(n ast.Node) string {
	text := d.text(n)
	if len(text) > maxRemoteName {
		d.reportf(n, "want at most %d bytes", maxRemoteName)
	}
	return text
}

func (d *decoder) timeout(n ast.Node) time.Duration {
	timeout := d.duration(n, oip.MaxTimeout)
	if timeout < time.Millisecond {
		d.reportf(n, "want at least 1ms")
	}
	return timeout
}

func (d *decoder) yes(n ast.Node) bool {
	value, ok := n.(*ast.BoolNode)
	if !ok {
		d.reportf(n, "want true or false")
		return false
	}
	return value.Value
}

func (d *decoder) tokenFrom(n ast.Node) string {
	name := d.text(n)
	if name != "" && !tokenPattern.MatchString(name) {
		d.reportf(n, "%q: want the name of an environment variable, ONEHOP_MODEL_TOKEN or one that begins with ONEHOP_MODEL_TOKEN_, and not the token", name)
		return ""
	}
	return name
}
