package servers_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/servers"
)

// childEnv makes the test program a parent of servers that is killed by the test.
const childEnv = "ONEHOP_SERVERS_TEST_CHILD"

// runChild starts servers, prints their addresses and waits to be killed.
func runChild() {
	for _, start := range []starter{servers.Redis, servers.Postgres} {
		server, err := start(context.Background(), servers.Options{NoSync: true})
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println(server.Addr(), server.Dir())
	}
	fmt.Println("ready")
	select {}
}

func TestServersDieWithTheirParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends children with their parent")
	}
	run(t, servers.Redis, servers.Options{}) // Skips where there are none.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	parent := exec.CommandContext(ctx, os.Args[0])
	parent.Env = append(os.Environ(), childEnv+"=1")
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	lines := bufio.NewScanner(output)
	for lines.Scan() && lines.Text() != "ready" {
		addr, dir, _ := strings.Cut(lines.Text(), " ")
		addresses = append(addresses, addr)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // Killed, so it fails.
	if len(addresses) != 2 {
		t.Fatalf("the parent started %q", addresses)
	}
	for _, addr := range addresses {
		waitRefused(ctx, t, addr)
	}
}

func waitRefused(ctx context.Context, t *testing.T, addr string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			if ctx.Err() != nil {
				t.Errorf("the server on %s outlives its parent", addr)
			}
			return
		}
		_ = conn.Close()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
