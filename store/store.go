// Package store keeps one [Record] for each (appid, cloud_id): the state of that cloudID. Every
// record has a TTL.
//
// The worker claims cloudIDs before it sends requests to WeChat. It saves their outcomes before
// it acknowledges the task. Other callers look records up; [Timely] also expires the overdue
// ones. [Redis] and [Postgres] implement [Results]. Package storetest holds the rules that
// every implementation must pass.
//
// The rules:
//
//   - A resolved record is never replaced.
//   - The outcome of a later request replaces a failed or expired record. The old record stays
//     visible until that outcome is saved. A pending record never replaces it.
//   - A claim under another openid is the exception: it replaces the whole record, unless the
//     record is resolved. No openid counts as another openid. So a record always belongs to the
//     user that it names, and only an erasure of that user removes it.
//   - An erased record stays erased.
//   - Every record expires after the store's TTL.
//   - A record of one app is never found under another app.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Status is the state of a cloudID.
type Status string

// The states of a record. All but Pending are final.
const (
	Pending  Status = "pending"  // accepted, no outcome yet
	Resolved Status = "resolved" // WeChat returned the data
	Failed   Status = "failed"   // permanently without data: WeChat refused, or its task or backfill is gone
	Expired  Status = "expired"  // the cloudID's lifetime passed first, or WeChat reported that (-601006)
)

// Final reports whether s is a final status.
func (s Status) Final() bool { return s == Resolved || s == Failed || s == Expired }

// Record is the state of one cloudID, in the shape that every reader sees (contract: "The
// record of one cloudID").
type Record struct {
	AppID      string          `json:"appid"`
	OpenID     string          `json:"openid,omitempty"`
	CloudID    string          `json:"cloud_id"`
	Status     Status          `json:"status"`
	Kind       string          `json:"kind,omitempty"` // derived from Data's keys: werun, phone, user, group, chat_tool, other
	Data       json.RawMessage `json:"data,omitempty"` // WeChat's JSON, unchanged except for insignificant whitespace
	Error      *Error          `json:"error,omitempty"`
	Attempts   int             `json:"attempts"` // requests to WeChat that carried this cloudID
	Reference  string          `json:"reference,omitempty"`
	AcceptedAt Time            `json:"accepted_at,omitzero"`
	FinishedAt Time            `json:"finished_at,omitzero"` // zero while pending

	// Deliver is the outlet to which Save delivers the record, if the record is final and Save
	// writes it. It is not stored with the record.
	Deliver Outlet `json:"-"`
	// Origin is stored with a pending record; see [Timely].
	Origin *Origin `json:"-"`
}

// Error is the reason why a cloudID is not resolved, or not resolved yet.
type Error struct {
	Code    int    `json:"code"` // the item's errCode, else the response's errcode, else 0
	Message string `json:"message"`
	RID     string `json:"rid"` // WeChat's request id, which can be looked up for 7 days; often empty
}

// Claim requests the right to resolve cloudIDs of one app on behalf of one task.
type Claim struct {
	AppID string
	// TaskID is the asynq task's id. After a crash the same task can claim its cloudIDs again.
	TaskID string
	// For is how long the claim lasts by the store's clock, unless Save releases it earlier. With
	// 0 or less the claim lapses at once.
	For time.Duration
	// Records are pending records of AppID. Claim stores one if the cloudID has no record, or has
	// an unresolved one of another user.
	Records []Record
}

// check returns an error for a claim that no store accepts.
func (c Claim) check() error {
	for i := range c.Records {
		if rec := &c.Records[i]; rec.Status != Pending || rec.AppID != c.AppID {
			return errors.New("a record to claim is not a pending one of the claim's app")
		}
	}
	return nil
}

// ClaimState is the answer to a Claim for one cloudID.
type ClaimState uint8

// The answers of a claim.
const (
	// Claimed: This task holds the cloudID until Save, or until Claim.For has passed. Record is
	// the stored pending record, which may be from an earlier attempt, or the failed or expired
	// record of an earlier request.
	Claimed ClaimState = iota
	// Busy: Another task holds the cloudID now. Claim it again later. Record is empty.
	Busy
	// Done: The cloudID is resolved, or this same task has completed it. Record is the final
	// record. Send no request to WeChat.
	Done
	// Erased: The user's data was erased after the cloudID was accepted, or the cloudID's
	// record was erased. Send no request to WeChat and store nothing. Record is empty.
	Erased
)

// ClaimResult is the answer of Claim for one cloudID.
type ClaimResult struct {
	State  ClaimState
	Record Record
}

// Results is the store of records. Implementations are safe for concurrent use.
//
// A method takes at most one round trip per app, however many cloudIDs it gets, and none for no
// cloudID. Extra round trips are rare: to announce deliveries, to load a script, to replace a
// broken record, or to erase from an outbox outside the store. A cloudID may appear only once
// in a call of Claim or Save. If a record has an unknown status or invalid Data, the call fails
// before it writes anything. Every call may be repeated after an error. Errors contain no ids
// and no values.
type Results interface {
	// Claim attempts to claim the cloudID of every record and returns one result per record, in
	// order.
	Claim(ctx context.Context, c Claim) ([]ClaimResult, error)
	// Save writes outcomes for the task taskID and releases its claims on them. For each app it
	// writes all records or none.
	//
	// A final record obeys the package's rules. A pending record, from an attempt without an
	// outcome, is written only if no record exists, or if the existing one is pending and
	// belongs to the task or to the same user. If a user was erased after a record was
	// accepted, Save writes nothing of that record. AcceptedAt must not be earlier than the one
	// with which the task has claimed the cloudID. Save atomically puts each final record that
	// it writes into the outbox of the record's Outlet, once per outcome.
	Save(ctx context.Context, taskID string, records []Record) error
	// Lookup returns one record per cloudID, in order. An unknown or erased cloudID has an
	// empty Status. A record that cannot be decrypted has an empty Status too; Lookup then
	// returns the records together with ErrUnreadable.
	Lookup(ctx context.Context, appID string, cloudIDs []string) ([]Record, error)
	// Erase removes all records of a user and returns how many existed. Their cloudIDs stay
	// unknown until the store's TTL passes. A cloudID of this user that was accepted before and
	// has no record yet never gets one. The time of the erasure is the store's clock;
	// AcceptedAt is compared with it.
	Erase(ctx context.Context, appID, openID string) (int, error)
}

// Time is a point in time with millisecond precision. It is always written in UTC with three
// decimals ("2026-11-22T08:00:00.000Z"), so times compare and sort as text.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// At truncates t to milliseconds and converts it to UTC. A zero t stays zero.
func At(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{t.UTC().Truncate(time.Millisecond)}
}

// MarshalJSON implements [json.Marshaler]. It returns an error for a year outside 0 to 9999:
// time.Time's own UnmarshalJSON, which reads the text back, accepts only years of four digits.
func (t Time) MarshalJSON() ([]byte, error) {
	if !t.hasFourDigitYear() {
		return nil, errYear
	}
	return t.UTC().AppendFormat(make([]byte, 0, len(timeLayout)+2), `"`+timeLayout+`"`), nil
}

var errYear = errors.New("a time's year is not within 0 to 9999")

func (t Time) hasFourDigitYear() bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

// text returns t as MarshalJSON writes it, without the quotes. The text of a zero t is empty.
func (t Time) text() (string, error) {
	switch {
	case t.IsZero():
		return "", nil
	case !t.hasFourDigitYear():
		return "", errYear
	default:
		return t.UTC().Format(timeLayout), nil
	}
}

// milli returns t in Unix milliseconds, or 0 for the zero Time.
func milli(t Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
