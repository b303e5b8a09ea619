package batch

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if base := os.Getenv(stoppedEnv); base != "" { // this process was started by TestStoppedProcess_…
		os.Exit(beStopped(base))
	}
	goleak.VerifyTestMain(m)
}
