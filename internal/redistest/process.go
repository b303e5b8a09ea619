package redistest

import (
	"bytes"
	"os/exec"
)

// process is a child process. A goroutine waits for it and returns when the child exits.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer  // stdout and stderr; read only after gone is closed
	gone   chan struct{} // closed when the child has exited
}

// run starts a redis-server with args.
func run(args []string) (*process, error) {
	// No context: a test's context is canceled before its cleanups run, and these may still need
	// the server.
	p := &process{cmd: exec.Command("redis-server", args...), gone: make(chan struct{})} //nolint:noctx // see above
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	killWithParent(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.gone)
		_ = p.cmd.Wait() // the error is expected: the child is usually killed
	}()
	return p, nil
}

// kill kills the child and waits until it has exited.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has exited already
	<-p.gone
}
