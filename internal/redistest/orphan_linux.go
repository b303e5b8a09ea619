package redistest

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel kill the child if the test binary dies without its cleanups
// (panic, -timeout).
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
