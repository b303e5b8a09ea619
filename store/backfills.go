package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // the scripts
	"encoding/base32"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// BackfillState is where the loading of a backfill stands.
type BackfillState string

// The states of a backfill.
const (
	BackfillOpen     BackfillState = "open"     // more lines may come
	BackfillComplete BackfillState = "complete" // all lines are in
	BackfillCanceled BackfillState = "canceled" // nothing more is asked, nor taken
)

// Backfill is what is known of a bulk of cloudIDs that came as one file. Accepted is always the sum of Pending, Resolved,
// Failed and Expired: each line that was accepted stands in one of them, also where a cloudID is repeated. One whose
// person has been erased before its end counts as failed, though it has no record.
type Backfill struct {
	ID      string        `json:"id"`
	AppID   string        `json:"appid"`
	Webhook string        `json:"webhook,omitempty"` // endpoint for the results; empty = the app's default
	Format  string        `json:"format"`            // of the file
	State   BackfillState `json:"state"`

	Lines    int `json:"lines"`    // of the file that are in, blank ones and rejected ones included
	Accepted int `json:"accepted"` // of them
	Rejected int `json:"rejected"` // of them, because they are bad
	Pending  int `json:"pending"`
	Resolved int `json:"resolved"`
	Failed   int `json:"failed"`
	Expired  int `json:"expired"`

	CreatedAt  Time `json:"created_at"`
	UpdatedAt  Time `json:"updated_at"`
	FinishedAt Time `json:"finished_at,omitzero"` // zero as long as something is pending or may come

	// Revision grows with every change.
	Revision int64 `json:"-"`
	chunks   int
}

// Finished reports whether nothing will change any more.
func (b *Backfill) Finished() bool { return !b.FinishedAt.IsZero() }

// Reject is a line that was not accepted.
type Reject struct {
	Line  int    `json:"line"`
	Error string `json:"error"` // repeats nothing of it
}

const (
	// MaxRejects is how many rejects of a backfill are kept: the first ones. All are counted.
	MaxRejects = 10_000
	// backfillMargin is how much longer than records a backfill is kept: its last record begins its time when it is
	// saved, and whoever comes for the results is to find the counts.
	backfillMargin = 24 * time.Hour
)

// What Redis keeps of backfills, in the slot of asynq's queue of that name, so that one script reaches all of it:
//
//	cloudidq:{backfill}:ID           hash: appid, webhook, format, state, created, updated, finished, rev, writer; lines, chunks,
//	                                 accepted, rejected, resolved, failed, expired; digest of the lines that are in;
//	                                 begun, if lines have been begun and are not in: "lines digest checked n,n,…"
//	cloudidq:{backfill}:ID:c:N       hash, chunk N: n, resolved, failed, expired, in; ids, its cloudIDs one a line, sealed
//	cloudidq:{backfill}:ID:marks     list of "lines digest", one for each time that lines have come in
//	cloudidq:{backfill}:ID:rejects   list of Reject as JSON, without a value
//	cloudidq:{backfill}:all          sorted set of the last 1,000 ids, by the moment when they were made
//
// Lines come in by windows, each of several chunks, and a chunk becomes a task whose id is made of ID and N. A window is
// begun here, then its tasks are written, then it is committed. So what a crash leaves is one window that is begun at
// most, and whoever goes on writes its tasks under the same ids, after he has seen by the digest that his lines are the
// same. What of a window has been asked and counted before it was committed stands in its chunks, and counts from then on.
//
// All of it is kept for the time of a record and a day, from the last change.
const backfillPrefix = "cloudidq:{backfill}:"

// Errors of backfills.
var (
	// ErrNoBackfill says that there is no such backfill: it never was, or its time is over.
	ErrNoBackfill = errors.New("no such backfill")
	// ErrBackfillTaken says that another one goes on with the backfill.
	ErrBackfillTaken = errors.New("another client has gone on with this backfill since")
	// ErrBackfillCanceled says that it takes no more lines.
	ErrBackfillCanceled = errors.New("the backfill has been canceled")
	// ErrBackfillComplete says the same.
	ErrBackfillComplete = errors.New("the backfill is complete")
	// ErrBackfillDiffers says that lines which had been begun have now been read another way.
	ErrBackfillDiffers = errors.New("the lines are not taken the way they were when they were begun, perhaps by another version")
)

//go:embed backfill.lua
var backfillLua string

//go:embed backfill_open.lua
var backfillOpenLua string

//go:embed backfill_begin.lua
var backfillBeginLua string

//go:embed backfill_commit.lua
var backfillCommitLua string

//go:embed backfill_complete.lua
var backfillCompleteLua string

//go:embed backfill_report.lua
var backfillReportLua string

//go:embed backfill_cancel.lua
var backfillCancelLua string

// Backfills keeps the state of backfills, in Redis whatever the store of records is. It is safe for concurrent use.
type Backfills struct {
	rdb   redis.Cmdable
	codec codec
	keep  int64 // ms

	open, begin, commit, complete, report, cancel *redis.Script
}

// NewBackfills returns the backfills in rdb, which stays the caller's to close. ttl is how long records are kept; the
// options are those of their store.
func NewBackfills(rdb redis.Cmdable, ttl time.Duration, options ...Option) *Backfills {
	var with settings
	for _, option := range options {
		option(&with)
	}
	script := func(lua string) *redis.Script { return redis.NewScript(backfillLua + lua) }
	return &Backfills{
		rdb: rdb, codec: codec{with.keyset}, keep: (ttl + backfillMargin).Milliseconds(),
		open: script(backfillOpenLua), begin: script(backfillBeginLua), commit: script(backfillCommitLua),
		complete: script(backfillCompleteLua), report: script(backfillReportLua), cancel: script(backfillCancelLua),
	}
}

// NewBackfillID makes an id.
func NewBackfillID() string { return "bf_" + strings.ToLower(rand.Text()) }

// BackfillIDOf makes the id that belongs to a text, such as the key under which a client repeats its request. It does not
// show the text.
func BackfillIDOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "bf_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:26]
}

var backfillID = regexp.MustCompile(`^bf_[a-z2-7]{26}$`)

// run runs a script on a backfill.
func (b *Backfills) run(ctx context.Context, script *redis.Script, id string, args ...any) ([]any, error) {
	if !backfillID.MatchString(id) {
		return nil, ErrNoBackfill
	}
	args = append([]any{time.Now().UnixMilli(), b.keep}, args...)
	return script.Run(ctx, b.rdb, []string{backfillPrefix + id}, args...).Slice()
}

// Get returns a backfill, or ErrNoBackfill.
func (b *Backfills) Get(ctx context.Context, id string) (Backfill, error) {
	if !backfillID.MatchString(id) {
		return Backfill{}, ErrNoBackfill
	}
	fields, err := b.rdb.HGetAll(ctx, backfillPrefix+id).Result()
	if err != nil {
		return Backfill{}, fmt.Errorf("looking up a backfill: %w", err)
	}
	if len(fields) == 0 {
		return Backfill{}, ErrNoBackfill
	}
	return parseBackfill(id, fields), nil
}

// Cancel stops a backfill: no more lines are taken, and nothing that is pending is asked for any more. One that has
// finished stays as it is.
func (b *Backfills) Cancel(ctx context.Context, id string) (Backfill, error) {
	answer, err := b.run(ctx, b.cancel, id)
	if err != nil {
		return Backfill{}, fmt.Errorf("canceling a backfill: %w", err)
	}
	return backfillOf(id, answer)
}

// backfillOf reads what a script says: fields and values in turn, or one word that says why not.
func backfillOf(id string, answer []any) (Backfill, error) {
	if len(answer) == 0 {
		return Backfill{}, ErrNoBackfill
	}
	if len(answer) == 1 {
		return Backfill{}, refusedBackfill(answer[0])
	}
	return parseBackfill(id, pairs(answer)), nil
}

func refusedBackfill(word any) error {
	switch word {
	case "gone":
		return ErrNoBackfill
	case "taken":
		return ErrBackfillTaken
	case "canceled":
		return ErrBackfillCanceled
	case "complete":
		return ErrBackfillComplete
	case "differs":
		return ErrBackfillDiffers
	}
	return errAnswer
}

func pairs(answer []any) map[string]string {
	fields := make(map[string]string, len(answer)/2)
	for i := 0; i+1 < len(answer); i += 2 {
		name, _ := answer[i].(string)
		fields[name], _ = answer[i+1].(string)
	}
	return fields
}

func parseBackfill(id string, fields map[string]string) Backfill {
	number := func(name string) int {
		n, _ := strconv.Atoi(fields[name])
		return n
	}
	moment := func(name string) Time {
		if fields[name] == "" {
			return Time{}
		}
		return At(time.UnixMilli(int64(number(name))))
	}
	b := Backfill{
		ID: id, AppID: fields["appid"], Webhook: fields["webhook"], Format: fields["format"], State: BackfillState(fields["state"]),
		Lines: number("lines"), Accepted: number("accepted"), Rejected: number("rejected"),
		Resolved: number("resolved"), Failed: number("failed"), Expired: number("expired"),
		CreatedAt: moment("created"), UpdatedAt: moment("updated"), FinishedAt: moment("finished"),
		Revision: int64(number("rev")), chunks: number("chunks"),
	}
	b.Pending = b.Accepted - b.Resolved - b.Failed - b.Expired
	return b
}
