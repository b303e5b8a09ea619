package redistest

import (
	"os/exec"
	"syscall"
)

// killWithParent makes the kernel kill the child if the test binary dies without its cleanups
// (panic, -timeout).
func killWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
