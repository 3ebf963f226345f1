package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asRelay in the environment makes the test binary the command itself, for tests that need a process of its own.
const asRelay = "HEARTH_TEST_AS_RELAY"

func TestMain(m *testing.M) {
	if os.Getenv(asRelay) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}
