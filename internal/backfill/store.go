package backfill

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

	"cloudidq/internal/seal"
	"cloudidq/store"
)

// State is the state of a backfill.
type State string

// The states of a backfill.
const (
	Open     State = "open"     // the client may add lines
	Complete State = "complete" // the client has added all lines
	Canceled State = "canceled" // no more requests to WeChat, no more lines
)

// Backfill is a file of cloudIDs and its progress. Accepted is always the sum of Pending,
// Resolved, Failed and Expired: each accepted line counts in exactly one of them, even if a
// cloudID is repeated. A cloudID whose user is erased before its final status counts as failed,
// although it has no record.
type Backfill struct {
	ID      string `json:"id"`
	AppID   string `json:"appid"`
	Webhook string `json:"webhook,omitempty"` // endpoint; empty = the app's default
	Format  string `json:"format"`            // format of the file
	State   State  `json:"state"`

	Lines    int `json:"lines"`    // committed lines of the file, blank and rejected ones included
	Accepted int `json:"accepted"` // accepted lines
	Rejected int `json:"rejected"` // invalid lines
	Pending  int `json:"pending"`
	Resolved int `json:"resolved"`
	Failed   int `json:"failed"`
	Expired  int `json:"expired"`

	CreatedAt  store.Time `json:"created_at"`
	UpdatedAt  store.Time `json:"updated_at"`
	FinishedAt store.Time `json:"finished_at,omitzero"` // zero until Finished

	// Revision grows with every change.
	Revision int64 `json:"-"`
	// The number of committed chunks.
	chunks int
}

// Finished reports whether no cloudID is pending and no lines can be added. One exception: if a
// window was begun before Cancel, its Commit can make a finished backfill pending again.
func (b *Backfill) Finished() bool { return !b.FinishedAt.IsZero() }

// Reject is a line that was not accepted.
type Reject struct {
	Line  int    `json:"line"`
	Error string `json:"error"` // never repeats content of the line
}

const (
	// MaxRejects is how many rejects of a backfill are stored: the first ones. All are counted.
	MaxRejects = 10_000
	// backfillMargin is how much longer than a record a backfill is retained. A record's
	// retention begins when it is saved. The counts must still exist while the last record can
	// be read.
	backfillMargin = 24 * time.Hour
)

// The layout of backfills in Redis. All keys are in the slot of asynq's queue "backfill", so
// that one script reaches all of them:
//
//	cloudidq:{backfill}:ID           hash: appid, webhook, format, state, created, updated,
//	                                 finished, rev, writer; lines, chunks, accepted, rejected,
//	                                 resolved, failed, expired; digest of the committed lines;
//	                                 begun, if a window was begun and not committed:
//	                                 "lines digest checked n,n,…"
//	cloudidq:{backfill}:ID:c:N       hash, chunk N: n, resolved, failed, expired, in (set once
//	                                 committed); ids, its cloudIDs one a line, sealed
//	cloudidq:{backfill}:ID:marks     list of "lines digest", one for each commit
//	cloudidq:{backfill}:ID:rejects   list of Reject as JSON, without a value
//	cloudidq:{backfill}:all          sorted set of the last 1,000 ids, by creation time
//
// Lines are added in windows. A window has several chunks, and each chunk becomes a task whose
// id is made of ID and N. First the window is begun here, then its tasks are enqueued, then the
// window is committed. A crash therefore leaves at most one window that is begun. The next
// client that continues the backfill compares the digest to verify that its lines are the same.
// It then enqueues the tasks of that window under the same ids. Tasks may finish before the
// commit. Their counts are stored in the chunks and count for the backfill from the commit on.
//
// All keys are retained for the TTL of a record and a day, from the last change.
const backfillPrefix = "cloudidq:{backfill}:"

// The errors of backfills.
var (
	// ErrNotFound says that no such backfill exists: the id is unknown, or its retention is
	// over.
	ErrNotFound = errors.New("no such backfill")
	// ErrSuperseded says that another client has continued the backfill since.
	ErrSuperseded = errors.New("another client has continued this backfill")
	// ErrCanceled says that the backfill is canceled and accepts no more lines.
	ErrCanceled = errors.New("the backfill has been canceled")
	// ErrComplete says that the backfill is complete and accepts no more lines.
	ErrComplete = errors.New("the backfill is complete")
	// ErrDiffers says that the client's lines are not those of the window that is
	// begun.
	ErrDiffers = errors.New("the lines differ from those of the begun window")
)

// errAnswer is returned for an answer that the scripts of this package never give.
var errAnswer = errors.New("unexpected answer from Redis")

//go:embed shared.lua
var sharedLua string

//go:embed open.lua
var openLua string

//go:embed begin.lua
var beginLua string

//go:embed commit.lua
var commitLua string

//go:embed complete.lua
var completeLua string

//go:embed report.lua
var reportLua string

//go:embed cancel.lua
var cancelLua string

// Store stores the state of backfills. It uses Redis even if the records are in PostgreSQL.
// It is safe for concurrent use.
type Store struct {
	rdb       redis.Cmdable
	keyset    *seal.Keyset // nil = cloudIDs are not sealed
	retention int64        // retention of a backfill, in ms

	open, begin, commit, complete, report, cancel *redis.Script
}

// NewStore returns the backfills in rdb. The caller closes rdb. ttl is how long records are
// retained. keyset seals cloudIDs, as it seals records; nil = they are not sealed.
func NewStore(rdb redis.Cmdable, ttl time.Duration, keyset *seal.Keyset) *Store {
	// Every script needs the shared functions of shared.lua.
	script := func(lua string) *redis.Script { return redis.NewScript(sharedLua + lua) }
	return &Store{
		rdb: rdb, keyset: keyset, retention: (ttl + backfillMargin).Milliseconds(),
		open: script(openLua), begin: script(beginLua), commit: script(commitLua),
		complete: script(completeLua), report: script(reportLua), cancel: script(cancelLua),
	}
}

// NewID returns a new random id.
func NewID() string { return "bf_" + strings.ToLower(rand.Text()) }

// IDOf derives an id from a text, such as the client's idempotency key. The same text
// always gives the same id. The id does not reveal the text.
func IDOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "bf_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:26]
}

var backfillID = regexp.MustCompile(`^bf_[a-z2-7]{26}$`)

// runScript runs a script on a backfill, with the current time and the retention as its first
// arguments. The error is ErrNotFound if id is malformed.
func (b *Store) runScript(
	ctx context.Context, script *redis.Script, id string, args ...any,
) ([]any, error) {
	if !backfillID.MatchString(id) {
		return nil, ErrNotFound
	}
	args = append([]any{time.Now().UnixMilli(), b.retention}, args...)
	return script.Run(ctx, b.rdb, []string{backfillPrefix + id}, args...).Slice()
}

// Get returns a backfill, or ErrNotFound if it does not exist.
func (b *Store) Get(ctx context.Context, id string) (Backfill, error) {
	if !backfillID.MatchString(id) {
		return Backfill{}, ErrNotFound
	}
	fields, err := b.rdb.HGetAll(ctx, backfillPrefix+id).Result()
	if err != nil {
		return Backfill{}, fmt.Errorf("looking up a backfill: %w", err)
	}
	if len(fields) == 0 {
		return Backfill{}, ErrNotFound
	}
	return parseBackfill(id, fields), nil
}

// Cancel stops a backfill: it accepts no more lines, and its pending cloudIDs are not requested
// any more. Only a window that was begun before can still be committed. A finished backfill
// stays as it is. The error is ErrNotFound if the backfill does not exist.
func (b *Store) Cancel(ctx context.Context, id string) (Backfill, error) {
	answer, err := b.runScript(ctx, b.cancel, id)
	if err != nil {
		return Backfill{}, fmt.Errorf("canceling a backfill: %w", err)
	}
	return backfillOf(id, answer)
}

// backfillOf parses the answer of a script: fields and values in turn, or one word that names
// an error. An empty answer is ErrNotFound.
func backfillOf(id string, answer []any) (Backfill, error) {
	if len(answer) == 0 {
		return Backfill{}, ErrNotFound
	}
	if len(answer) == 1 {
		return Backfill{}, scriptError(answer[0])
	}
	return parseBackfill(id, pairs(answer)), nil
}

// scriptError returns the error that a script names with a word.
func scriptError(word any) error {
	switch word {
	case "gone":
		return ErrNotFound
	case "superseded":
		return ErrSuperseded
	case "canceled":
		return ErrCanceled
	case "complete":
		return ErrComplete
	case "differs":
		return ErrDiffers
	}
	return errAnswer
}

// pairs turns fields and values in turn into a map.
func pairs(answer []any) map[string]string {
	fields := make(map[string]string, len(answer)/2)
	for i := 0; i+1 < len(answer); i += 2 {
		name, _ := answer[i].(string)
		fields[name], _ = answer[i+1].(string)
	}
	return fields
}

// parseBackfill builds a Backfill from its hash. It derives Pending from the other counts.
func parseBackfill(id string, fields map[string]string) Backfill {
	number := func(name string) int {
		n, _ := strconv.Atoi(fields[name])
		return n
	}
	moment := func(name string) store.Time {
		if fields[name] == "" {
			return store.Time{}
		}
		return store.At(time.UnixMilli(int64(number(name))))
	}
	b := Backfill{
		ID: id, AppID: fields["appid"], Webhook: fields["webhook"], Format: fields["format"], State: State(fields["state"]),
		Lines: number("lines"), Accepted: number("accepted"), Rejected: number("rejected"),
		Resolved: number("resolved"), Failed: number("failed"), Expired: number("expired"),
		CreatedAt: moment("created"), UpdatedAt: moment("updated"), FinishedAt: moment("finished"),
		Revision: int64(number("rev")), chunks: number("chunks"),
	}
	b.Pending = b.Accepted - b.Resolved - b.Failed - b.Expired
	return b
}
