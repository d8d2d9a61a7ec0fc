package app

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/config"
)

// TestAStartTellsOfAServerThatHangs: soon, though it neither answers nor refuses, and each try of it takes its time.
func TestAStartTellsOfAServerThatHangs(t *testing.T) {
	hangs, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hangs.Close() }()
	var log bytes.Buffer
	_, err = Start(t.Context(), "infer", config.Common{
		Namespace: "a", Postgres: "postgres://127.0.0.1:1/a", Snapshot: t.TempDir() + "/none", Redis: "redis://" + hangs.Addr().String(),
		AdminListen: "127.0.0.1:0", StartupTimeout: 4 * time.Second, LogFormat: "text", LogLevel: "info",
	}, &log)
	if err == nil || !strings.Contains(err.Error(), "no Redis to use at "+hangs.Addr().String()) {
		t.Errorf("%v", err)
	}
	if text := log.String(); !strings.Contains(text, `msg="waiting for a server that cannot be used yet" service=infer server=Redis`) {
		t.Error(text)
	}
}
