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

// conn is the connection to a browser: messages of JSON in both directions, each with a zero byte at its end.
type conn struct {
	writing sync.Mutex // of mu and this one, nobody holds both: whoever reads must never wait for who writes
	out     *os.File   // a pipe; guarded by writing

	mu      sync.Mutex
	last    int64                    // guarded by mu
	waiting map[int64]chan message   // calls by their id; guarded by mu
	hearing map[string]func(message) // who hears the events of a session; guarded by mu
	gone    chan struct{}            // closed once the browser says no more
}

// message is a command, the answer to one, or an event.
type message struct {
	ID      int64           `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"` // of a page; none for the browser itself
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// launch starts a browser that reads its commands from file 3 and writes to file 4. stop ends it and waits for it.
func launch(path string, args []string) (c *conn, stop func(), err error) {
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, theirIn.Close(), ourOut.Close())
	}
	cmd := exec.Command(path, args...) //nolint:noctx // it lives as long as the test; stop ends it
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that what it starts can be ended, too
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
		_ = c.call(ctx, "", "Browser.close", nil, nil) // it would end with its input, but not at once
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

func newConn(out *os.File) *conn {
	return &conn{out: out, waiting: make(map[int64]chan message), hearing: make(map[string]func(message)), gone: make(chan struct{})}
}

// read hands out what the browser says, until it says no more.
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
		answer, hear := c.waiting[m.ID], c.hearing[m.Session]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		switch {
		case answer != nil:
			answer <- m
		case m.ID == 0 && hear != nil:
			hear(m)
		}
	}
}

// hear lets a function have the events of a session. It must not wait for anything: the answers come behind the events.
func (c *conn) hear(session string, f func(message)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hearing[session] = f
}

// call gives a command to a session, or to the browser itself, and reads its result unless that is nil.
func (c *conn) call(ctx context.Context, session, method string, params, result any) error {
	m := message{Session: session, Method: method}
	if params != nil {
		text, err := json.Marshal(params)
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		m.Params = text
	}
	answer := make(chan message, 1)
	id, err := c.send(ctx, m, answer)
	if err != nil {
		return fmt.Errorf("%s: the browser does not take the command: %w", method, err)
	}
	defer c.forget(id)
	select {
	case m = <-answer:
	case <-c.gone:
		return fmt.Errorf("%s: the browser is gone", method)
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

// send writes a command whose answer a channel gets, until ctx ends: a browser that hangs reads no more, and a full pipe waits.
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
	late, _ := ctx.Deadline() // without one it is the zero time: no limit
	if err := c.out.SetWriteDeadline(late); err != nil {
		return 0, err
	}
	_, err = c.out.Write(append(text, 0))
	return m.ID, err
}

// forget ends the wait for an answer.
func (c *conn) forget(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}
