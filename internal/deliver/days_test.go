package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/attempt"
	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// remembered is an in-memory store of deliveries with one endpoint. It lets days pass at once
// in a synctest bubble. A socket would block the clock of the bubble.
type remembered struct {
	Store

	mu    sync.Mutex
	rows  map[string]*store.Delivery
	state store.EndpointState
}

func (r *remembered) Load(_ context.Context, id string) (store.Delivery, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row := r.rows[id]; row != nil {
		return *row, nil
	}
	return store.Delivery{}, store.ErrNoDelivery
}

func (r *remembered) RecordAttempt(_ context.Context, id string, state store.DeliveryState, _ time.Time, a *store.Attempt, _ bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.rows[id]
	row.State = state
	if a != nil {
		row.Tried++
		row.Attempts = append(row.Attempts, *a)
	}
	return nil
}

func (r *remembered) change(f func(*store.EndpointState)) (store.EndpointState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.state)
	return r.state, nil
}

func (r *remembered) Endpoint(context.Context, string) (store.EndpointState, error) {
	return r.change(func(*store.EndpointState) {})
}

func (r *remembered) EndpointOK(context.Context, string) error {
	_, err := r.change(func(s *store.EndpointState) { *s = store.EndpointState{Disabled: s.Disabled} })
	return err
}

func (r *remembered) EndpointFailed(_ context.Context, _ string, answered bool, now time.Time) (store.EndpointState, error) {
	before, err := r.Endpoint(nil, "") //nolint:staticcheck // it looks at none
	after, _ := r.change(func(s *store.EndpointState) {
		if s.FirstFailure.IsZero() {
			s.FirstFailure = store.At(now)
		}
		s.LastFailure = store.At(now)
		if s.InRow++; answered {
			s.InRow, s.OpenUntil = 0, store.Time{}
		}
	})
	before.FirstFailure, before.InRow = after.FirstFailure, after.InRow
	return before, err
}

func (r *remembered) Disable(_ context.Context, _, reason string, now time.Time) error {
	_, err := r.change(func(s *store.EndpointState) { s.Disabled, s.Reason = store.At(now), reason })
	return err
}

func (r *remembered) OpenCircuit(_ context.Context, _ string, until time.Time) error {
	_, err := r.change(func(s *store.EndpointState) { s.OpenUntil = store.At(until) })
	return err
}

func (r *remembered) Probe(_ context.Context, _ string, now time.Time, hold time.Duration) (may bool, err error) {
	_, err = r.change(func(s *store.EndpointState) {
		if may = !s.OpenUntil.After(now); may && !s.OpenUntil.IsZero() {
			s.OpenUntil = store.At(now.Add(hold))
		}
	})
	return may, err
}

func (r *remembered) Park(context.Context, string, string) error { return nil }

func (r *remembered) Unpark(context.Context, string, int) ([]string, error) { return nil, nil }

// days is a fixture: an attempter and its queue in a synctest bubble.
type days struct {
	*testing.T
	rows  *remembered
	d     *attempter
	begun time.Time
	at    map[string][]time.Duration // by delivery: times of its attempts, since begun
	mu    sync.Mutex
	queue sync.WaitGroup
}

// answers returns the outcome of an attempt. since is the time since the start of the test.
type answers func(since time.Duration) webhook.Attempt

func newDays(t *testing.T, answer answers) *days {
	t.Helper()
	rows := &remembered{rows: map[string]*store.Delivery{}}
	s := &days{T: t, rows: rows, begun: time.Now(), at: map[string][]time.Duration{}}
	endpoints := newEndpoints([]Webhook{{Name: "orders", Sender: sends(func(id string) webhook.Attempt {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.at[id] = append(s.at[id], time.Since(s.begun))
		return answer(time.Since(s.begun))
	}), BatchMax: 10}}, 100)
	log := slog.New(slog.DiscardHandler)
	s.d = &attempter{store: rows, endpoints: endpoints, lists: &waitLists{store: rows, endpoints: endpoints, log: log}, log: log}
	return s
}

// sends is a sender made of a function.
type sends func(id string) webhook.Attempt

func (f sends) Send(_ context.Context, id string, _ []byte) webhook.Attempt { return f(id) }

// deliver starts a delivery, and repeats its task as the queue or the wait list would.
func (s *days) deliver(id string) {
	s.Helper()
	s.rows.mu.Lock()
	s.rows.rows[id] = &store.Delivery{ID: id, AppID: "wx1", Endpoint: "orders", State: store.DeliveryPending}
	s.rows.mu.Unlock()
	task, err := tasks.NewDeliverTask(id)
	if err != nil {
		s.Fatal(err)
	}
	s.queue.Go(func() {
		for {
			err := s.d.ProcessTask(s.Context(), task)
			row, _ := s.rows.Load(s.Context(), id)
			snooze, again := errors.AsType[*attempt.SnoozeError](err)
			switch {
			case errors.Is(err, asynq.SkipRetry), row.State != store.DeliveryPending:
				return
			case again:
				time.Sleep(snooze.Delay)
			case err != nil:
				s.Errorf("ProcessTask = %v", err)
				return
			default:
				time.Sleep(checkEvery)
			}
		}
	})
}

func (s *days) stateOf(id string) store.DeliveryState {
	row, _ := s.rows.Load(s.Context(), id)
	return row.State
}

func always(a webhook.Attempt) answers { return func(time.Duration) webhook.Attempt { return a } }

// The retry schedule is the one of Standard Webhooks, which takes about 75 hours.
func TestDeliverDays_TheSchedule(t *testing.T) {
	waits := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
		14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
	for _, class := range []webhook.Class{webhook.Refused, webhook.Connect, webhook.Timeout} {
		synctest.Test(t, func(t *testing.T) {
			s := newDays(t, always(webhook.Attempt{Class: class}))
			s.deliver("msg_1")
			s.queue.Wait()
			at := s.at["msg_1"]
			if len(at) != len(waits)+1 || s.stateOf("msg_1") != store.DeliveryExhausted {
				t.Fatalf("%s: attempts after %s, it is %s", class, at, s.stateOf("msg_1"))
			}
			for i, wait := range waits {
				if got := at[i+1] - at[i]; got < wait*4/5 || got > wait*6/5+maxOpen {
					t.Errorf("%s: attempt %d came %s after the one before, want %s", class, i+2, got, wait)
				}
			}
		})
	}
}

// A receiver gets the wait that it requests by Retry-After, up to an hour.
func TestDeliverDays_RetryAfter(t *testing.T) {
	for requested, want := range map[time.Duration]time.Duration{
		time.Second: 4 * time.Second, 2 * time.Minute: 2 * time.Minute, time.Hour: time.Hour, 24 * time.Hour: time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newDays(t, func(since time.Duration) webhook.Attempt {
				if since == 0 {
					return webhook.Attempt{Status: 429, Class: webhook.Slow, RetryAfter: requested}
				}
				return webhook.Attempt{Status: 200, Class: webhook.OK}
			})
			s.deliver("msg_1")
			s.queue.Wait()
			if at := s.at["msg_1"]; len(at) != 2 || at[1] < want || at[1] > want+2*time.Second || s.stateOf("msg_1") != store.DeliveryDelivered {
				t.Errorf("Retry-After %s: attempts after %s, want the second after %s", requested, at, want)
			}
		})
	}
}

// A 410 answer disables the endpoint at once. Later deliveries are held without an attempt.
func TestDeliverDays_Gone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDays(t, always(webhook.Attempt{Status: 410, Class: webhook.Gone}))
		s.deliver("msg_1")
		s.queue.Wait()
		s.deliver("msg_2")
		s.queue.Wait()
		if s.stateOf("msg_1") != store.DeliveryHeld || s.stateOf("msg_2") != store.DeliveryHeld || len(s.at["msg_1"]) != 1 || len(s.at["msg_2"]) != 0 {
			t.Errorf("%s, %s, attempts %v", s.stateOf("msg_1"), s.stateOf("msg_2"), s.at)
		}
	})
}

// Five days of failures without a success disable the endpoint. All waiting deliveries are held.
func TestDeliverDays_FiveDays(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		answer answers
		want   time.Duration // when it is disabled
	}{
		"NothingButFailure": {always(webhook.Attempt{Class: webhook.Timeout}), 5 * day},
		"Refusals":          {always(webhook.Attempt{Status: 500, Class: webhook.Refused}), 5 * day},
		"OneSuccess": {func(since time.Duration) webhook.Attempt {
			if since >= 4*day && since < 4*day+3*time.Hour {
				return webhook.Attempt{Status: 200, Class: webhook.OK}
			}
			return webhook.Attempt{Class: webhook.Timeout}
		}, 9 * day},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newDays(t, tt.answer)
				for n := range 5 * 11 {
					s.deliver(fmt.Sprintf("msg_%d", n))
					time.Sleep(5 * time.Hour)
				}
				s.queue.Wait()
				disabled := s.rows.state.Disabled.Sub(s.begun)
				if s.rows.state.Disabled.IsZero() || disabled < tt.want || disabled > tt.want+11*time.Hour {
					t.Errorf("it was disabled after %s, want %s and until the next attempt", disabled, tt.want)
				}
				for id, attempts := range s.at {
					// The attempt that disabled the endpoint is the last one. The stored time
					// is in whole milliseconds.
					if last := attempts[len(attempts)-1].Truncate(time.Millisecond); last > disabled {
						t.Errorf("%s: an attempt after %s", id, last)
					}
				}
				for id := range s.rows.rows {
					if state := s.stateOf(id); state == store.DeliveryPending {
						t.Errorf("%s is %s", id, state)
					}
				}
			})
		})
	}
}
