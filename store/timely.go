package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// OverdueAfter is how long after the end of its lifetime a record may still be pending. It is
// longer than an attempt of its task that began within the lifetime. After that time the task
// is gone: another tool has deleted it, or Redis has lost it.
const OverdueAfter = 2 * time.Minute

// Timely is a store whose pending records expire on time. Normally a worker completes the
// cloudIDs of its tasks. If the task is gone, Lookup saves the overdue record as expired, with
// its delivery, under the task's id. Timely writes this status once. A late resolved outcome
// still replaces it.
//
// A record that is looked up late is completed late, but with the same time: finished_at is the
// end of the lifetime.
type Timely struct {
	Results
	lifetime time.Duration
	now      func(context.Context) (time.Time, error)
	thin     func(*Record) json.RawMessage
}

// NewTimely returns a store that expires the overdue records of r. lifetime is the lifetime of
// a cloudID.
// thin returns the short form of a final record, for endpoints that receive it
// ([Origin.Thin]). It may be nil if there are none.
//
// now returns the time of the clock by which the workers measure lifetimes: the clock of the
// queues' Redis. With its own clock, a reader whose clock is ahead would expire a record whose
// task is still waiting. Lookup calls now only if a record is overdue by this machine's clock.
func NewTimely(
	r Results, lifetime time.Duration,
	now func(context.Context) (time.Time, error), thin func(*Record) json.RawMessage,
) *Timely {
	return &Timely{r, lifetime, now, thin}
}

// Lookup implements [Results]. It costs more than r's Lookup only if a record is overdue.
func (t *Timely) Lookup(ctx context.Context, appID string, cloudIDs []string) ([]Record, error) {
	records, err := t.Results.Lookup(ctx, appID, cloudIDs)
	if len(records) != len(cloudIDs) {
		return records, err
	}
	if len(t.overdue(records, time.Now())) == 0 {
		return records, err
	}
	// This machine's clock may be ahead, so the queues' clock decides.
	now, clockErr := t.now(ctx)
	if clockErr != nil {
		return nil, fmt.Errorf("reading the clock of Redis: %w", clockErr)
	}
	overdue := t.overdue(records, now)
	if len(overdue) == 0 {
		return records, err
	}
	for taskID, of := range overdue {
		if err := t.expire(ctx, appID, taskID, of); err != nil {
			return nil, err
		}
	}
	// Read again: a task may have saved another outcome meanwhile.
	return t.Results.Lookup(ctx, appID, cloudIDs)
}

// overdue returns the overdue records, by task id.
func (t *Timely) overdue(records []Record, now time.Time) map[string][]Record {
	var overdue map[string][]Record
	for i := range records {
		rec := &records[i]
		if !rec.overdue(t.lifetime, now) {
			continue
		}
		if overdue == nil {
			overdue = make(map[string][]Record)
		}
		overdue[rec.origin().TaskID] = append(overdue[rec.origin().TaskID], *rec)
	}
	return overdue
}

// overdue reports whether a record is still pending more than OverdueAfter after the end of its
// lifetime.
func (rec *Record) overdue(lifetime time.Duration, now time.Time) bool {
	return rec.Status == Pending && !rec.AcceptedAt.IsZero() && now.After(rec.AcceptedAt.Add(lifetime+OverdueAfter))
}

// unknownTask owns records of older versions, which have no origin.
const unknownTask = "overdue"

// origin returns the origin of a record, or that of unknownTask if the record has none.
func (rec *Record) origin() Origin {
	if rec.Origin == nil {
		return Origin{TaskID: unknownTask}
	}
	return *rec.Origin
}

// expire expires the given records, except those that are no longer pending or that another task
// has claimed.
func (t *Timely) expire(ctx context.Context, appID, taskID string, records []Record) error {
	// A call of Claim may contain a cloudID only once.
	unique := records[:0:0]
	seen := make(map[string]bool, len(records))
	for i := range records {
		if !seen[records[i].CloudID] {
			seen[records[i].CloudID] = true
			unique = append(unique, records[i])
		}
	}
	// The claim finds out which records are still pending and unclaimed.
	claimed, err := t.Claim(ctx, Claim{AppID: appID, TaskID: taskID, For: OverdueAfter, Records: unique})
	if err != nil {
		return err
	}
	var finals []Record
	for i, c := range claimed {
		if c.State == Claimed && c.Record.Status == Pending {
			final := unique[i].expiredAt(t.lifetime)
			if final.Deliver, err = t.outlet(&final, unique[i].origin()); err != nil {
				return err
			}
			finals = append(finals, final)
		}
	}
	return t.Save(ctx, taskID, finals)
}

// expiredAt returns the final record of a record whose task is gone.
func (rec *Record) expiredAt(lifetime time.Duration) Record {
	final := *rec
	final.Status, final.FinishedAt = Expired, At(rec.AcceptedAt.Add(lifetime))
	final.Error = &Error{Message: "its lifetime ended, and its task is gone from the queue"}
	// Keep the last answer of WeChat, which may show why the record stayed pending.
	if last := rec.Error; last != nil {
		message := final.Error.Message + "; last answer: " + last.Message
		final.Error = &Error{Code: last.Code, Message: message, RID: last.RID}
	}
	final.Origin = nil
	return final
}

var errNoThin = errors.New("a result is to be delivered in its short form, which is unknown here")

// outlet returns where a record is delivered whose task is gone.
func (t *Timely) outlet(rec *Record, from Origin) (Outlet, error) {
	to := Outlet{Endpoint: from.Endpoint}
	if !from.Thin || to.Endpoint == "" {
		return to, nil
	}
	if t.thin == nil {
		return Outlet{}, errNoThin
	}
	to.Result = t.thin(rec)
	return to, nil
}
