package worker

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if base := os.Getenv(stoppedEnv); base != "" { // this is the process that TestStoppedProcess_… has started
		os.Exit(beStopped(base))
	}
	goleak.VerifyTestMain(m)
}
