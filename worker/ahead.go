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
	// aheadEvery is how often a queue is looked at while tasks wait for their app's share: so long may a task of another
	// app have to wait for a slot.
	aheadEvery = 100 * time.Millisecond
	// aheadLooks is how many tasks are looked at then. A task is looked at once, so a backlog is through once, and then
	// it is what comes.
	aheadLooks = 80
	// aheadLast bounds what is done at the end.
	aheadLast = 2 * time.Second
)

// ahead looks past the tasks of an app that waits for its share of a queue's slots, and lets those of other apps go first.
// For each of these, one task that waits makes way: it goes back to the queue, and from there to its head. It reaches into
// asynq's own keys, which asynq offers no other way for; it is written for the layout of v0.26.0.
//
// Every worker process has one per queue, which does nothing unless tasks wait. The script is atomic, so several do not
// disturb each other.
type ahead struct {
	rdb    redis.UniversalClient
	queue  string
	shares *shares
	log    *slog.Logger

	mark string // the last task that was looked at; used by run only
}

// run looks until ctx ends, and then brings back what has made way.
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

// look is one look, if there is a reason for one.
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

// crowd is the app whose tasks wait for its share, how many do, and which tasks have made way, the oldest first.
func (s *shares) crowd(queue string, now time.Time) (appID string, waiting int, back []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[queue]
	if r == nil {
		return "", 0, nil
	}
	// One that is not there by now was due before, or a worker has it: it is back without us.
	r.back = slices.DeleteFunc(r.back, func(b wentBack) bool { return now.After(b.until) })
	slices.SortFunc(r.back, func(a, b wentBack) int { return a.number - b.number })
	for _, b := range r.back {
		appID, back = b.appID, append(back, b.taskID)
	}
	if len(r.waiting) > 0 {
		appID = r.waiting[0].appID
	} else {
		r.nobody = false
	}
	return appID, len(r.waiting), back
}

// looked takes what a look has found: how many tasks of others are at the head, whether the look is through, and which
// tasks are back.
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
	if need := others - max(0, r.slots-held); need > 0 {
		r.tellToGo(need)
	}
	r.admit(now)
}
