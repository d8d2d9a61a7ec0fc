// Package e2econtainers runs the integration suite's core with everything in containers:
// Kafka, Redis and Postgres, and the three services from the images that the Dockerfile
// makes. It drives them only through Kafka and RPC. scripts/test-containers.sh builds
// the images and runs it.
package e2econtainers

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/onehop/onehop/onehoptest"
)

func TestMain(m *testing.M) {
	if os.Getenv("ONEHOP_TEST_CONTAINERS") != "1" {
		fmt.Println("skipped: ONEHOP_TEST_CONTAINERS is not 1; `make test-containers` sets it and starts what these tests need")
		return
	}
	code := m.Run()
	if err := onehoptest.StopContainers(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if code == 0 { // A failed test may well leave something behind.
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
