package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// shared is the world of all tests of the package.
var shared struct {
	sync.Once
	*World
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.World != nil {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			code = max(code, 1)
		}
	}
	if code == 0 {
		// A link of the proxy whose receiver has gone does not drain what it still holds, and keeps a goroutine for good:
		// https://github.com/Shopify/toxiproxy/blob/v2.5.0/link.go#L152.
		if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run")); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func world(t *testing.T) *World {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	shared.Do(func() { shared.World, shared.err = NewWorld(context.WithoutCancel(t.Context()), "../..") })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.World
}

func seed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64N(1 << 32)
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	t.Logf("CHAOS_SEED=%d", seed)
	return seed
}

// TestFaults runs every fault at its short size, all on the same servers.
func TestFaults(t *testing.T) {
	if os.Getenv("ONEHOP_TEST_FAULTS") == "" {
		t.Skip("it takes minutes; make test-faults runs it")
	}
	w, seed := world(t), seed(t)
	var results []*Result
	for i := range Faults {
		f := &Faults[i]
		t.Run(f.Name, func(t *testing.T) {
			result := Run(t.Context(), w, f, false, seed, t.Logf)
			if !result.OK() {
				t.Errorf("%s\n%s", result.Error, strings.Join(result.Problems, "\n"))
			}
			results = append(results, result)
		})
	}
	var table strings.Builder
	WriteTable(&table, results)
	t.Logf("CHAOS_SEED=%d\n%s", seed, table.String())
}
