package oip

import (
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/oip/oiptest"
)

// TestTLS: calls with a token go over TLS to a server whose certificate is trusted, and to no other.
func TestTLS(t *testing.T) {
	behind := oiptest.Start(t)
	behind.Behave(oiptest.Behaviour{Token: "secret"})
	server := httptest.NewUnstartedServer(behind.Handler())
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	t.Setenv("ONEHOP_MODEL_TOKEN", "secret")
	o := Options{Endpoints: []string{server.Listener.Addr().String()}, Model: "ranker", TLS: true, TokenFrom: "ONEHOP_MODEL_TOKEN"}
	if _, err := Load(t.Context(), o, oiptest.Output); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	o.roots = x509.NewCertPool()
	o.roots.AddCert(server.Certificate())
	m, err := Load(t.Context(), o, oiptest.Output)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
