package worker

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed ahead.lua
var aheadLua string

var aheadScript = redis.NewScript(aheadLua)

const (
	// aheadEvery is how often a queue is scanned while tasks wait for a slot of their app. A
	// task of another app may have to wait that long for a slot.
	aheadEvery = 100 * time.Millisecond
	// aheadLooks is how many tasks one scan reads. Each task is read once, so after one pass
	// through the backlog only new tasks are read.
	aheadLooks = 80
	// aheadLast bounds the last scan, after ctx has ended.
	aheadLast = 2 * time.Second
)

// ahead scans a queue past the tasks of an app that waits for its share of the slots, and lets
// the tasks of other apps go first. For each of these, one waiting task makes way: it is
// requeued for a retry and then moved back to the head of the queue. asynq offers no way to do
// this, so ahead uses asynq's own keys. It is written for the layout of asynq v0.26.0.
//
// Every worker process has one per queue. It does nothing unless tasks wait. The script is
// atomic, so the processes do not disturb each other.
type ahead struct {
	rdb    redis.UniversalClient
	queue  string
	shares *shares
	log    *slog.Logger

	mark string // the last task of the waiting app that was read; used by run only
}

// run scans until ctx ends. Then it brings back the tasks that have made way.
func (a *ahead) run(ctx context.Context) {
	tick := time.NewTicker(aheadEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := a.look(ctx); err != nil && ctx.Err() == nil {
				a.log.Error("cannot look for the tasks of other apps", "queue", a.queue, "error", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), aheadLast)
			defer cancel()
			if err := a.look(last); err != nil {
				a.log.Error("tasks that have made way stay behind those that came after them", "queue", a.queue, "error", err)
			}
			return
		}
	}
}

// look makes one scan, if tasks wait or have made way.
func (a *ahead) look(ctx context.Context) error {
	appID, waiting, back := a.shares.crowd(a.queue, time.Now())
	if waiting == 0 && len(back) == 0 {
		a.mark = ""
		return nil
	}
	prefix := "asynq:{" + a.queue + "}:"
	args := []any{prefix + "t:", appID, waiting, aheadLooks, a.mark}
	for _, id := range back {
		args = append(args, id)
	}
	answer, err := aheadScript.Run(ctx, a.rdb, []string{prefix + "pending", prefix + "retry"}, args...).Slice()
	if err != nil {
		return fmt.Errorf("looking ahead: %w", err)
	}
	if len(answer) < 3 {
		return errAhead
	}
	others, _ := answer[0].(int64)
	a.mark, _ = answer[1].(string)
	unseen, _ := answer[2].(int64)
	a.shares.looked(a.queue, int(others), unseen == 0, answer[3:], time.Now())
	return nil
}

var errAhead = errors.New("looking ahead: Redis gave an answer of another form")

// crowd returns the app whose tasks wait for slots and the number of these tasks. It also
// returns the ids of the tasks that have made way, the oldest first.
func (s *shares) crowd(queue string, now time.Time) (appID string, waiting int, back []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[queue]
	if r == nil {
		return "", 0, nil
	}
	// Forget tasks past their time. They have come due by themselves or a worker has them, so
	// they are back already.
	r.back = slices.DeleteFunc(r.back, func(b wentBack) bool { return now.After(b.until) })
	slices.SortFunc(r.back, func(a, b wentBack) int { return a.number - b.number })
	for _, b := range r.back {
		appID, back = b.appID, append(back, b.taskID)
	}
	if len(r.waiting) > 0 {
		appID = r.waiting[0].appID
	} else {
		// No scan runs now, so an earlier result no longer holds.
		r.nobody = false
	}
	return appID, len(r.waiting), back
}

// looked applies the result of a scan. others is the number of other apps' tasks at the head of
// the queue. through means that the scan has reached the end of the queue. back are the tasks
// returned to its head.
func (s *shares) looked(queue string, others int, through bool, back []any, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[queue]
	r.back = slices.DeleteFunc(r.back, func(b wentBack) bool { return slices.Contains(back, any(b.taskID)) })
	r.nobody = through && others == 0
	held := len(r.waiting)
	for _, n := range r.working {
		held += n
	}
	// Free slots take tasks of others first. Only for the rest must waiting tasks make way.
	if need := others - max(0, r.slots-held); need > 0 {
		r.tellToGo(need)
	}
	r.admit(now)
}
