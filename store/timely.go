package store

import (
	"context"
	"fmt"
	"time"
)

// OverdueAfter is how long after the end of its lifetime a record may still be pending: longer than a try of its task that
// began within it. After that its task is gone, as when another tool has deleted it or Redis has lost it.
const OverdueAfter = 2 * time.Minute

// Timely is a store whose pending records end on time. A worker ends what its tasks hold. Where the task is gone, whoever
// looks a record up ends it: as expired, with its delivery, in the name of its task. That is written once; a late resolved
// end still replaces it.
//
// What is looked at late is ended late, but at the same moment: finished_at is the end of the lifetime.
type Timely struct {
	Results
	lifetime time.Duration
	now      func(context.Context) (time.Time, error)
}

// NewTimely returns such a store over r. lifetime is that of a cloudID. now tells the time by the clock that the workers judge
// lifetimes by, which is that of the queues' Redis: by its own clock, a reader that is ahead would end what a living task
// waits with. It is asked only for records that are overdue by this machine's clock.
func NewTimely(r Results, lifetime time.Duration, now func(context.Context) (time.Time, error)) *Timely {
	return &Timely{r, lifetime, now}
}

// Lookup implements [Results]. It costs more than r's only where a record is overdue.
func (t *Timely) Lookup(ctx context.Context, appID string, cloudIDs []string) ([]Record, error) {
	records, err := t.Results.Lookup(ctx, appID, cloudIDs)
	if len(records) != len(cloudIDs) {
		return records, err
	}
	if len(t.overdue(records, time.Now())) == 0 {
		return records, err
	}
	now, clockErr := t.now(ctx)
	if clockErr != nil {
		return nil, fmt.Errorf("asking Redis for its clock: %w", clockErr)
	}
	overdue := t.overdue(records, now)
	if len(overdue) == 0 {
		return records, err
	}
	for taskID, of := range overdue {
		if err := t.end(ctx, appID, taskID, of); err != nil {
			return nil, err
		}
	}
	return t.Results.Lookup(ctx, appID, cloudIDs)
}

// overdue are the records that are, by task.
func (t *Timely) overdue(records []Record, now time.Time) map[string][]Record {
	var overdue map[string][]Record
	for i := range records {
		rec := &records[i]
		if !rec.Overdue(t.lifetime, now) {
			continue
		}
		if overdue == nil {
			overdue = make(map[string][]Record)
		}
		overdue[rec.origin().TaskID] = append(overdue[rec.origin().TaskID], *rec)
	}
	return overdue
}

// Overdue reports whether a record is pending though it should have ended long ago.
func (rec *Record) Overdue(lifetime time.Duration, now time.Time) bool {
	return rec.Status == Pending && !rec.AcceptedAt.IsZero() && now.After(rec.AcceptedAt.Add(lifetime+OverdueAfter))
}

// unknownTask owns records of former versions, which have no origin.
const unknownTask = "overdue"

func (rec *Record) origin() Origin {
	if rec.Origin == nil {
		return Origin{TaskID: unknownTask}
	}
	return *rec.Origin
}

// end ends what of the records is still pending, and in no other task's hands.
func (t *Timely) end(ctx context.Context, appID, taskID string, records []Record) error {
	unique := records[:0:0]
	seen := make(map[string]bool, len(records))
	for i := range records {
		if !seen[records[i].CloudID] {
			seen[records[i].CloudID] = true
			unique = append(unique, records[i])
		}
	}
	claimed, err := t.Claim(ctx, Claim{AppID: appID, TaskID: taskID, For: OverdueAfter, Records: unique})
	if err != nil {
		return err
	}
	var ends []Record
	for i, c := range claimed {
		if c.State == Claimed && c.Record.Status == Pending {
			ends = append(ends, unique[i].expiredAt(t.lifetime))
		}
	}
	return t.Save(ctx, taskID, ends)
}

// expiredAt is the end of a record whose task is gone.
func (rec *Record) expiredAt(lifetime time.Duration) Record {
	end := *rec
	end.Status, end.FinishedAt = Expired, At(rec.AcceptedAt.Add(lifetime))
	end.Error = &Error{Message: "its lifetime ended, and its task is gone from the queue"}
	if last := rec.Error; last != nil {
		end.Error = &Error{Code: last.Code, Message: end.Error.Message + "; last answer: " + last.Message, RID: last.RID}
	}
	from := rec.origin()
	end.Deliver, end.Origin = Outlet{Endpoint: from.Endpoint, Thin: from.Thin}, nil
	return end
}
