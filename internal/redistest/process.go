package redistest

import (
	"bytes"
	"os/exec"
)

// process is a child that is waited for in a goroutine, which ends with it.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer  // stdout and stderr; read after gone
	gone   chan struct{} // closed when the child has ended
}

func run(args []string) (*process, error) {
	// No context: a test's context ends before its cleanups run, and these may still need the server.
	p := &process{cmd: exec.Command("redis-server", args...), gone: make(chan struct{})} //nolint:noctx // see above
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	endWithParent(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.gone)
		_ = p.cmd.Wait() // killed, as a rule
	}()
	return p, nil
}

// kill ends the child and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means it has ended already
	<-p.gone
}
