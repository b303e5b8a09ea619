package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/queue"
	"cloudidq/tasks"
)

// enterAll takes n places for wx1.
func enterAll(s *shares, n int) []*place {
	places := make([]*place, n)
	for i := range places {
		places[i] = s.enter(tasks.QueueEvents, "wx1")
	}
	return places
}

// working returns how many of the places may work.
func working(places []*place) (n int) {
	for _, p := range places {
		if p.mayWork() {
			n++
		}
	}
	return n
}

// An app may use three quarters of the slots until it is known that no other app wants slots.
// Tasks beyond that wait, and work in the order of their arrival.
func TestShares_PastItsShareATaskWaits(t *testing.T) {
	s := newShares(true, map[string]int{tasks.QueueEvents: 8})
	first := enterAll(s, 8)
	if n := working(first); n != 6 {
		t.Fatalf("%d tasks of one app at work, want 6 of 8", n)
	}
	if other := s.enter(tasks.QueueEvents, "wx2"); !other.mayWork() {
		t.Error("the other app has no slot")
	}
	first[0].leave()
	if !first[6].mayWork() || first[7].mayWork() {
		t.Error("one has left, and not the one works that waited longest")
	}
	if !first[6].wait(t.Context(), time.Hour) {
		t.Error("wait() = false, want that it works")
	}
	if p := newShares(false, map[string]int{tasks.QueueEvents: 1}).enter(tasks.QueueEvents, "wx1"); !p.mayWork() {
		t.Error("an app that is alone is bounded")
	}
}

// The share applies only while another app wants slots. A few slots are always reserved for the
// first tasks of another app.
func TestShares_BindOnlyWhileAnotherAppWantsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShares(true, map[string]int{tasks.QueueEvents: 16})
		other := s.enter(tasks.QueueEvents, "wx2")
		other.leave()
		places := enterAll(s, 16)
		apply := func(moved queue.Moved) { s.applyScan(tasks.QueueEvents, moved, time.Now()) }
		if apply(queue.Moved{}); working(places) != 12 {
			t.Errorf("%d at work just after another app was seen, want 12 of 16", working(places))
		}
		time.Sleep(wantsFor)
		if apply(queue.Moved{Unread: 1}); working(places) != 12 {
			t.Errorf("%d at work before the queue was looked through, want 12", working(places))
		}
		if apply(queue.Moved{}); working(places) != 14 {
			t.Errorf("%d at work while no other app has tasks, want 14 of 16", working(places))
		}
		s.enter(tasks.QueueEvents, "wx2")
		places[0].leave()
		places[1].leave()
		places[2].leave()
		if n := working(places[3:]); n != 12 { // 14 - 3 + 1
			t.Errorf("%d at work since another app came, want 12", n)
		}
	})
}

// For each task of another app one waiting task makes way. It is the task that came last,
// because the oldest are the next to work.
func TestShares_TheYoungestMakeWay(t *testing.T) {
	s := newShares(true, map[string]int{tasks.QueueEvents: 8})
	p := enterAll(s, 8)
	extra := s.enter(tasks.QueueEvents, "wx1") // the third waiting task; no slot is free
	s.applyScan(tasks.QueueEvents, queue.Moved{Others: 2, Unread: 1}, time.Now())
	if extra.wait(t.Context(), time.Hour) || p[7].wait(t.Context(), time.Hour) {
		t.Error("the youngest two have not yielded")
	}
	p[0].leave()
	if !p[6].wait(t.Context(), time.Hour) {
		t.Error("the oldest of those that wait does not work when a slot is free")
	}
	p[7].yield("task-7")
	extra.yield("task-8")
	if _, _, back := s.crowd(tasks.QueueEvents, time.Now()); len(back) != 2 || back[0] != "task-7" {
		t.Errorf("crowd() = %v, want both, the oldest first", back)
	}
	s.applyScan(tasks.QueueEvents, queue.Moved{Unread: 1, Returned: []string{"task-7"}}, time.Now())
	if _, _, back := s.crowd(tasks.QueueEvents, time.Now()); len(back) != 1 || back[0] != "task-8" {
		t.Errorf("crowd() = %v, want the one that is not back", back)
	}
}

// When a worker stops, tasks that wait for their share go back at once.
func TestShares_StopLetsNobodyWait(t *testing.T) {
	s := newShares(true, map[string]int{tasks.QueueEvents: 4})
	p := enterAll(s, 4)
	s.stop()
	if p[3].wait(t.Context(), time.Hour) {
		t.Error("one that waited works, want that it goes back")
	}
	late := s.enter(tasks.QueueEvents, "wx1")
	if late.wait(t.Context(), time.Hour) {
		t.Error("one that came after the stop works, want that it goes back")
	}
	for _, p := range append(p, late) {
		p.leave()
	}
	if r := s.rooms[tasks.QueueEvents]; len(r.waiting) != 0 || len(r.working) != 0 {
		t.Errorf("%d wait and %d apps work after all have left", len(r.waiting), len(r.working))
	}
}
