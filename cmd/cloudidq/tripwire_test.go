package main

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// crashPoint defines when a process dies: when it sends a command that contains the mark, after
// skip other such commands.
type crashPoint struct {
	mark    string // empty means that the test calls trip itself
	skip    int
	arrives bool // if set, Redis executes the command but the answer is lost; else the command does not arrive
}

// tripwire is a proxy between a process and its Redis. The process dies at a crashPoint as if by
// SIGKILL, on a machine of any speed.
type tripwire struct {
	addr string

	mu      sync.Mutex
	at      crashPoint      // guarded by mu, as all fields below
	left    int             // number of commands that may still pass
	victim  <-chan *process // nil means not armed
	tripped chan struct{}
	deaths  int // number of deaths so far; data of older connections is dropped
}

func newTripwire(t *testing.T, redis string) *tripwire {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tripwire{addr: ln.Addr().String()}
	var pumps sync.WaitGroup
	pumps.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			pumps.Go(func() { w.serve(client, redis) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); pumps.Wait() })
	return w
}

func (w *tripwire) serve(client net.Conn, redis string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", redis) //nolint:noctx // closed with the client's connection
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { copyUntil(client, server, func([]byte, []byte) bool { return true }) })
	w.mu.Lock()
	deaths := w.deaths
	w.mu.Unlock()
	copyUntil(server, client, func(before, now []byte) bool { return w.lets(deaths, before, now) })
	_ = server.Close()
	_ = client.Close()
	back.Wait()
}

// copyUntil copies until one side closes or pass returns false. pass receives the new data and the
// end of the previous data.
func copyUntil(to, from net.Conn, pass func(before, now []byte) bool) {
	const longestMark = 256
	buffer, before := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !pass(before, buffer[:n]) {
			return
		}
		before = append(before, buffer[:n]...)
		before = before[max(0, len(before)-longestMark):]
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// lets reports whether data of a process may go on to Redis. deaths is the number of deaths when
// the connection was opened. If the process reaches its crashPoint, lets kills it.
func (w *tripwire) lets(deaths int, before, now []byte) bool {
	w.mu.Lock()
	if deaths < w.deaths {
		w.mu.Unlock()
		return false
	}
	mark := []byte(w.at.mark)
	if w.victim == nil || len(mark) == 0 {
		w.mu.Unlock()
		return true
	}
	seen := append(before[max(0, len(before)-len(mark)+1):len(before):len(before)], now...) // a mark may be split over two reads
	w.left -= bytes.Count(seen, mark)
	comes, arrives := w.left < 0, w.at.arrives
	w.mu.Unlock()
	return !comes || !w.trip() || arrives
}

// trip kills the process, once for each call of arm.
func (w *tripwire) trip() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.victim == nil {
		return false
	}
	(<-w.victim).kill()
	w.victim = nil
	w.deaths++
	close(w.tripped)
	return true
}

// arm makes a running process die at a crashPoint.
func (w *tripwire) arm(at crashPoint, victim *process) {
	running := make(chan *process, 1)
	running <- victim
	w.armFor(at, running)
}

// armFor is arm for a process that will start later. Nothing that the process sends passes
// unchecked.
func (w *tripwire) armFor(at crashPoint, victim <-chan *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at, w.left, w.victim, w.tripped = at, at.skip, victim, make(chan struct{})
}

// wait returns when the process is dead.
func (w *tripwire) wait(t *testing.T, victim *process) {
	t.Helper()
	select {
	case <-w.tripped:
	case <-time.After(waitTimeout):
		t.Fatalf("the process has not reached its crash point; stderr: %s", victim.err.String())
	}
}
