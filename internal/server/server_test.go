package server_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/server"
)

// TestLinesOfNetHTTP: they are in the log, in its form, and those that anybody can cause only where it tells everything.
func TestLinesOfNetHTTP(t *testing.T) {
	var out bytes.Buffer // the handler writes one line at a time, and Serve waits for those who write
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := server.Listen(t.Context(), "127.0.0.1:0", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") }), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, time.Second) }()
	for _, sent := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(sent)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		for buffer := make([]byte, 100); err == nil; {
			_, err = conn.Read(buffer) // until it is closed
		}
		_ = conn.Close()
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	text := out.String()
	if !strings.Contains(text, `"level":"ERROR","msg":"net/http says","line":"http: panic serving`) || !strings.Contains(text, `"level":"DEBUG","msg":"net/http says","line":"timeout waiting for SETTINGS frames`) {
		t.Error(text)
	}
}
