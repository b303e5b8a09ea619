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
	out     io.Writer  // guarded by writing

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

func newConn(out io.Writer) *conn {
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
	if err := c.send(m, answer); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m = <-answer:
	case <-c.gone:
		return fmt.Errorf("%s: the browser is gone", method)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
	if m.Error != nil {
		return fmt.Errorf("%s: %s", method, m.Error.Message)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(m.Result, result)
}

// send writes a command whose answer a channel gets.
func (c *conn) send(m message, answer chan message) error {
	c.mu.Lock()
	c.last++
	m.ID = c.last
	c.waiting[m.ID] = answer
	c.mu.Unlock()
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err = c.out.Write(append(text, 0))
	return err
}
