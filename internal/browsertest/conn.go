package browsertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// conn is the connection to a browser. Both directions carry JSON messages, each followed by a
// zero byte.
type conn struct {
	writing sync.Mutex // never held together with mu: the reader must not wait for a writer
	out     *os.File   // a pipe; guarded by writing

	mu       sync.Mutex
	last     int64                    // guarded by mu
	waiting  map[int64]chan message   // pending calls by id; guarded by mu
	handlers map[string]func(message) // event handlers by session; guarded by mu
	gone     chan struct{}            // closed when the browser's output is closed
}

// message is a command, its response, or an event.
type message struct {
	ID      int64           `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"` // session of a page; empty for the browser itself
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// launch starts a browser that reads commands from file descriptor 3 and writes to file
// descriptor 4. stop stops the browser and waits until it has exited.
func launch(path string, args []string) (c *conn, stop func(), err error) {
	// One pipe per direction.
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, theirIn.Close(), ourOut.Close())
	}
	cmd := exec.Command(path, args...) //nolint:noctx // it runs as long as the test; stop stops it
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	// A process group lets stop also kill the children of the browser.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		return nil, nil, errors.Join(err, ourIn.Close(), ourOut.Close())
	}
	c = newConn(ourOut)
	var reading sync.WaitGroup
	reading.Go(func() { c.read(ourIn) })
	return c, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.call(ctx, "", "Browser.close", nil, nil) // closing only its input would stop it later
		_ = ourOut.Close()
		select {
		case <-c.gone:
		case <-ctx.Done():
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = ourIn.Close()
		reading.Wait()
	}, nil
}

// newConn returns a connection that writes to out. The caller starts read.
func newConn(out *os.File) *conn {
	return &conn{
		out: out, waiting: make(map[int64]chan message),
		handlers: make(map[string]func(message)), gone: make(chan struct{}),
	}
}

// read dispatches the browser's messages until its output is closed.
func (c *conn) read(in io.Reader) {
	defer close(c.gone)
	for r := bufio.NewReader(in); ; {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			return
		}
		c.mu.Lock()
		answer, handle := c.waiting[m.ID], c.handlers[m.Session]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		switch {
		case answer != nil:
			answer <- m
		case m.ID == 0 && handle != nil:
			handle(m)
		}
	}
}

// setHandler sets the event handler of a session. The handler must not block, because responses
// arrive after the events.
func (c *conn) setHandler(session string, f func(message)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers[session] = f
}

// call sends a command to a session, or to the browser itself if session is empty. It decodes
// the response into result unless result is nil.
func (c *conn) call(ctx context.Context, session, method string, params, result any) error {
	m := message{Session: session, Method: method}
	if params != nil {
		text, err := json.Marshal(params)
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		m.Params = text
	}
	// Register for the response, send the command, and wait.
	answer := make(chan message, 1)
	id, err := c.send(ctx, m, answer)
	if err != nil {
		return fmt.Errorf("%s: the browser does not accept the command: %w", method, err)
	}
	defer c.forget(id)
	select {
	case m = <-answer:
	case <-c.gone:
		return fmt.Errorf("%s: the browser has exited", method)
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer: %w", method, ctx.Err())
	}
	if m.Error != nil {
		return fmt.Errorf("%s: %s", method, m.Error.Message)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(m.Result, result)
}

// send writes a command and registers answer as the channel for its response. It gives up at
// ctx's deadline. A hanging browser does not read, and a write to a full pipe blocks.
func (c *conn) send(ctx context.Context, m message, answer chan message) (id int64, err error) {
	c.mu.Lock()
	c.last++
	m.ID = c.last
	c.waiting[m.ID] = answer
	c.mu.Unlock()
	defer func() {
		if err != nil {
			c.forget(m.ID)
		}
	}()
	text, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	deadline, _ := ctx.Deadline() // without a deadline, the zero time means no limit
	if err := c.out.SetWriteDeadline(deadline); err != nil {
		return 0, err
	}
	_, err = c.out.Write(append(text, 0))
	return m.ID, err
}

// forget stops waiting for a response.
func (c *conn) forget(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}
