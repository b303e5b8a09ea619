package main

import (
	"bytes"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
)

// tripwire stands between a process and its Redis. The process dies, as by SIGKILL, in the moment in which it sends a
// command that holds a mark, and the command does not arrive; or it does, and nobody hears the answer.
type tripwire struct {
	addr    string
	mark    []byte
	arrives bool

	mu      sync.Mutex
	kill    func() // guarded by mu
	tripped chan struct{}
}

func newTripwire(t *testing.T, redis, mark string) *tripwire {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tripwire{addr: ln.Addr().String(), mark: []byte(mark), tripped: make(chan struct{})}
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
	server, err := net.Dial("tcp", redis) //nolint:noctx // ends with the client's connection
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { w.pump(client, server, nil) })
	w.pump(server, client, w.mark)
	_ = server.Close()
	_ = client.Close()
	back.Wait()
}

// pump copies until one side ends, or until the mark is read.
func (w *tripwire) pump(to, from net.Conn, mark []byte) {
	buffer, tail := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := from.Read(buffer)
		seen := append(tail, buffer[:n]...)
		if len(mark) > 0 && bytes.Contains(seen, mark) && w.trip() && !w.arrives {
			return
		}
		tail = append([]byte(nil), seen[max(0, len(seen)-len(mark)):]...)
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// trip kills the process, once.
func (w *tripwire) trip() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kill == nil {
		return false
	}
	w.kill()
	w.kill = nil
	close(w.tripped)
	return true
}

func (w *tripwire) arm(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kill = p.kill
}

// appendedStep is where Redis has taken what PostgreSQL still has.
const appendedStep = "InRedisAndStillInPostgres"

// outboxes counts the ends that wait in PostgreSQL, and the lists of those that wait in Redis.
func (s *site) outboxes(t *testing.T) (owed, lists int) {
	t.Helper()
	lists = len(s.redis.Client(t).Keys(t.Context(), "cloudidq:{*}:o:orders").Val())
	if s.dsn == "" {
		return 0, lists
	}
	conn, err := pgx.Connect(t.Context(), s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM cloudidq_outbox").Scan(&owed); err != nil {
		t.Fatal(err)
	}
	return owed, lists
}

// A worker that dies between any two steps from the save to the acknowledgement leaves one delivery, under one id.
func TestWebhooks_CrashAtEachStep(t *testing.T) {
	t.Parallel()
	for step, mark := range map[string]string{
		"InPostgresAndNotInRedis": "}:x\r",
		appendedStep:              "-- Puts ends into the outbox", // the script's text, which a new Redis is sent once
		"SavedAndNotCut":          ":o:orders",
		"CutAndNotEnqueued":       "asynq:{webhooks}:t:msg_",
		"EnqueuedAndNotSent":      "cloudidq:endpoint:orders\r\n",
		"ReceivedAndNotAnswered":  "",
		"AnsweredAndNotSettled":   `"class":"ok"`,
		"SettledNotAcknowledged":  "asynq:{webhooks}:processed",
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, wechattest.Config{Seed: 12})
			if mark == "}:x\r" || step == appendedStep {
				s.dsn = pgtest.Database(t)
			}
			wire := newTripwire(t, s.redis.Addr, mark)
			wire.arrives = step == appendedStep
			r := newReceiver(t, func(_ int, rw http.ResponseWriter) {
				if mark == "" && wire.trip() {
					rw.WriteHeader(http.StatusServiceUnavailable) // nobody hears it
				}
			})
			r.listen()
			s.appSettings, s.redisAddr = ", webhook: orders", wire.addr
			s.configure(t, r.settings(""))
			twin := s.twin(t)
			victim := s.worker(t)
			wire.arm(victim)
			taps := s.enqueueMany(t, twin, 30, 10)
			select {
			case <-wire.tripped:
			case <-time.After(longs):
				t.Fatalf("the worker has not come to the step; it said: %s", victim.err.String())
			}
			if wire.arrives {
				waitFor(t, "Redis to have what PostgreSQL still has", func() bool { owed, lists := s.outboxes(t); return owed > 0 && lists > 0 })
			}
			s.redisAddr = ""
			s.configure(t, r.settings(""))
			s.worker(t)
			waitFor(t, "all results to be delivered", func() bool { return r.arrived() == len(taps) })
			waitFor(t, "both outboxes to be empty", func() bool { owed, lists := s.outboxes(t); return owed+lists == 0 })
			waitFor(t, "the deliveries to be settled", func() bool { return s.unsettled(t) == 0 })
			r.checkAgainst(twin, taps)
		})
	}
}

// So it is for a delivery that waits in line for its endpoint, when it gets there and when it leaves.
func TestWebhooks_CrashInLine(t *testing.T) {
	t.Parallel()
	const line = "\r\n$29\r\ncloudidq:endpoint:orders:line\r\n"
	for step, tt := range map[string]struct {
		mark  string
		comes bool // the delivery, into the line
	}{
		"NotYetInLine":           {"zadd" + line, true},
		"CalledUpAndStillInLine": {"zrem" + line, false},
		"CalledUpAndNotEnqueued": {"asynq:{webhooks}:t:msg_", false},
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, wechattest.Config{Seed: 17})
			wire := newTripwire(t, s.redis.Addr, tt.mark)
			r := newReceiver(t, nil)
			r.listen()
			s.appSettings, s.redisAddr = ", webhook: orders", wire.addr
			s.configure(t, r.settings(""))
			deliveries := store.NewDeliveries(s.redis.Client(t))
			shut := func(d time.Duration) {
				t.Helper()
				if err := deliveries.Shut(t.Context(), "orders", time.Now().Add(d)); err != nil {
					t.Fatal(err)
				}
			}
			shut(time.Hour)
			twin, victim := s.twin(t), s.worker(t)
			if tt.comes {
				wire.arm(victim)
			}
			taps := s.enqueueMany(t, twin, 30, 10)
			if !tt.comes {
				waitFor(t, "all to be in line", func() bool {
					_, ended := s.records(t, taps)
					n, err := deliveries.InLine(t.Context(), "orders")
					return err == nil && ended == len(taps) && n > 0 && n == s.unsettled(t) && s.inDeliveries(t) == len(taps)
				})
				wire.arm(victim)
				shut(0)
			}
			select {
			case <-wire.tripped:
			case <-time.After(longs):
				t.Fatalf("the worker has not come to the step; it said: %s", victim.err.String())
			}
			s.redisAddr = ""
			s.configure(t, r.settings(""))
			s.worker(t)
			shut(0)
			waitFor(t, "all results to be delivered", func() bool { return r.arrived() == len(taps) })
			waitFor(t, "the deliveries to be settled", func() bool { return s.unsettled(t) == 0 })
			r.checkAgainst(twin, taps)
		})
	}
}

// inDeliveries counts the results that are part of a delivery.
func (s *site) inDeliveries(t *testing.T) (n int) {
	t.Helper()
	for _, d := range s.listed(t) {
		n += d.Results
	}
	return n
}
