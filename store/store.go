// Package store keeps what became of each cloudID: one [Record] per (appid, cloud_id), for a finite time.
//
// The worker claims cloudIDs before it asks WeChat and saves their outcomes before it acknowledges the task; everybody
// else only looks up. [Redis] and [Postgres] are the implementations; storetest holds the rules that every one must pass.
//
// The rules. A resolved record is never replaced. A failed or expired one is replaced by the outcome of a later ask,
// and stays visible until that outcome is there; a pending one never replaces it. An ask under another openid, or under
// none, is an exception: its claim replaces the whole record. So a record is always that of the person
// who is named in it, and an erasure finds it there only. An erased one stays erased. Every record ends after the
// store's TTL. Records of one app are never found under another.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Status is where a cloudID stands.
type Status string

// The states of a record. All but Pending are final.
const (
	Pending  Status = "pending"  // accepted, no answer yet
	Resolved Status = "resolved" // WeChat gave the data
	Failed   Status = "failed"   // WeChat said no, for good
	Expired  Status = "expired"  // the lifetime ended first, or WeChat said so (-601006)
)

// Final reports whether s is an end.
func (s Status) Final() bool { return s == Resolved || s == Failed || s == Expired }

// Record is what is known of one cloudID, in the shape every reader sees (contract: "The record of one cloudID").
type Record struct {
	AppID      string          `json:"appid"`
	OpenID     string          `json:"openid,omitempty"`
	CloudID    string          `json:"cloud_id"`
	Status     Status          `json:"status"`
	Kind       string          `json:"kind,omitempty"` // told from Data's keys: werun, phone, user, group, chat_tool, other
	Data       json.RawMessage `json:"data,omitempty"` // WeChat's JSON, unchanged but for insignificant blanks
	Error      *Error          `json:"error,omitempty"`
	Attempts   int             `json:"attempts"` // requests to WeChat that carried this cloudID
	Reference  string          `json:"reference,omitempty"`
	AcceptedAt Time            `json:"accepted_at,omitzero"`
	FinishedAt Time            `json:"finished_at,omitzero"` // zero while pending

	// Deliver is where Save is to deliver the record, should it be final and be written. It is not stored with it.
	Deliver Outlet `json:"-"`
	// Origin is kept with a pending record; see [Timely].
	Origin *Origin `json:"-"`
}

// Error is why a cloudID is not resolved, or not yet.
type Error struct {
	Code    int    `json:"code"` // the item's errCode, else the response's errcode, else 0
	Message string `json:"message"`
	RID     string `json:"rid"` // WeChat's request id, to be looked up within 7 days; often empty
}

// Claim asks for the right to resolve cloudIDs of one app on behalf of one task.
type Claim struct {
	AppID   string
	TaskID  string        // the asynq task's id: a task given back after a crash finds its own claims open
	For     time.Duration // how long the claim lasts by the store's clock, unless Save ends it before; 0 or less: it has lapsed at once
	Records []Record      // what to store for cloudIDs not seen before: pending records of AppID
}

// check refuses a claim that no store takes.
func (c Claim) check() error {
	for i := range c.Records {
		if rec := &c.Records[i]; rec.Status != Pending || rec.AppID != c.AppID {
			return errors.New("a record to claim is not a pending one of the claim's app")
		}
	}
	return nil
}

// ClaimState is the answer for one cloudID of a Claim.
type ClaimState uint8

// The answers of a claim.
const (
	// Claimed: this task holds the cloudID until Save, or until Claim.For is over. Record is the pending record as stored
	// (of an earlier try perhaps), or the one of a former ask that ended failed or expired.
	Claimed ClaimState = iota
	// Busy: another task holds it now; ask again later. Record is empty.
	Busy
	// Done: it is resolved, or this very task has ended it. Record is the end; nothing is to be asked.
	Done
	// Erased: its person's data has been erased since it was accepted. Nothing is to be asked or stored. Record is empty.
	Erased
)

// ClaimResult is what Claim says about one cloudID.
type ClaimResult struct {
	State  ClaimState
	Record Record
}

// Results is the store of records. Implementations are safe for concurrent use. Each method is at most one round trip per
// app, whatever the number of cloudIDs, and none for no cloudID. A cloudID may stand only once in a call of Claim or
// Save. A record with an unknown status or broken Data is refused before anything is written, and every call may be
// repeated after an error. Errors name no id and no value.
type Results interface {
	// Claim tries to claim every record's cloudID and returns one result per record, in order.
	Claim(ctx context.Context, c Claim) ([]ClaimResult, error)
	// Save writes outcomes for the task taskID and releases its claims on them, all or none per app. A final record
	// obeys the package's rules; a pending one (a try that ended without an answer) only updates a pending one of the same
	// person. Nothing of a person who was erased since it was accepted is written. A final record that is written is put
	// into the outbox of its Outlet in the same step, once for an end.
	Save(ctx context.Context, taskID string, records []Record) error
	// Lookup returns one record per cloudID, in order; an unknown one, and one that was erased, has an empty Status. So
	// has one that cannot be opened: the records come with an error then, which is ErrUnreadable.
	Lookup(ctx context.Context, appID string, cloudIDs []string) ([]Record, error)
	// Erase removes all records of a person: their cloudIDs stay unknown until the store's TTL ends, and what was accepted
	// of this person so far, but has no record yet, never gets one. The moment is that of the store's clock; AcceptedAt is
	// compared with it. It returns how many records there were.
	Erase(ctx context.Context, appID, openID string) (int, error)
}

// Time is a moment with millisecond precision, always written in UTC with three decimals
// ("2026-11-22T08:00:00.000Z"), so that records compare and sort as text.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// At cuts t down to milliseconds in UTC.
func At(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{t.UTC().Truncate(time.Millisecond)}
}

// MarshalJSON implements [json.Marshaler]. Reading is time.Time's own UnmarshalJSON, which knows years of four digits
// only: another year is an error.
func (t Time) MarshalJSON() ([]byte, error) {
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return nil, errors.New("a time's year is not within 0 to 9999")
	}
	return t.UTC().AppendFormat(make([]byte, 0, len(timeLayout)+2), `"`+timeLayout+`"`), nil
}
