package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloudidq/internal/seal"
)

// Loading is the right to bring lines into a backfill. It ends when somebody else opens the backfill: of two clients the
// one that came last goes on, since the other may well be dead.
type Loading struct {
	Backfill Backfill
	// Begun is the window that somebody has begun before and not committed; nil = there is none.
	Begun *Begun

	writer string
	digest string // of the lines that are in
}

// Begun is what is known of a window without its lines.
type Begun struct {
	To      int       // the lines that are in when it is committed
	Digest  string    // of all of them
	Checked time.Time // the moment for which its lines were checked
	chunks  string
}

// Window is a part of a file on its way in: some lines behind those that are in.
type Window struct {
	To      int       // the number of its last line
	Digest  string    // of all lines up to there, without blanks
	Checked time.Time // the moment for which its lines were checked
	// Chunks are the cloudIDs that become a task each, by the order of the lines.
	Chunks   [][]string
	Accepted int // lines
	Rejected int // lines
	Rejects  []Reject
}

// layout is how many cloudIDs each chunk has.
func (w *Window) layout() string {
	sizes := make([]string, len(w.Chunks))
	for i, chunk := range w.Chunks {
		sizes[i] = strconv.Itoa(len(chunk))
	}
	return strings.Join(sizes, ",")
}

// Create makes a backfill of an id, app, webhook and format. If there is one of this id already, it goes on with that; one
// that is of another app, webhook or format is left as it is and returned.
func (b *Backfills) Create(ctx context.Context, as Backfill) (Loading, error) {
	return b.load(ctx, as, 1)
}

// Resume goes on with a backfill, or returns ErrNoBackfill.
func (b *Backfills) Resume(ctx context.Context, id string) (Loading, error) {
	return b.load(ctx, Backfill{ID: id}, 0)
}

func (b *Backfills) load(ctx context.Context, as Backfill, create int) (Loading, error) {
	l := Loading{writer: rand.Text()}
	answer, err := b.run(ctx, b.open, as.ID, l.writer, create, as.AppID, as.Webhook, as.Format)
	if err == nil {
		l.Backfill, err = backfillOf(as.ID, answer)
	}
	if err != nil {
		return Loading{}, fmt.Errorf("opening a backfill: %w", err)
	}
	fields := pairs(answer)
	l.digest = fields["digest"]
	if l.Begun, err = parseBegun(fields["begun"]); err != nil {
		return Loading{}, fmt.Errorf("opening a backfill: %w", err)
	}
	return l, nil
}

func parseBegun(text string) (*Begun, error) {
	if text == "" {
		return nil, nil
	}
	var begun Begun
	var checked int64
	parts := strings.SplitN(text, " ", 4)
	if len(parts) != 4 {
		return nil, errAnswer
	}
	var err, wrong error
	begun.To, err = strconv.Atoi(parts[0])
	checked, wrong = strconv.ParseInt(parts[2], 10, 64)
	if err = errors.Join(err, wrong); err != nil {
		return nil, errAnswer
	}
	begun.Digest, begun.Checked, begun.chunks = parts[1], time.UnixMilli(checked), parts[3]
	return &begun, nil
}

// First is the number of the next chunk.
func (l *Loading) First() int { return l.Backfill.chunks }

// Digest is that of the lines that are in.
func (l *Loading) Digest() string { return l.digest }

// Begin says which lines come next, before their tasks are written. It returns which chunks have ended already, as after
// a crash: their tasks need not be written again. It may be repeated, and then says true for what has been committed.
func (b *Backfills) Begin(ctx context.Context, l *Loading, w *Window) (ended []bool, committed bool, err error) {
	args := make([]any, 0, 6+len(w.Chunks))
	args = append(args, l.writer, l.Backfill.Lines, w.To, w.Digest, w.Checked.UnixMilli(), w.layout())
	for i, chunk := range w.Chunks {
		ids, err := b.sealIDs(l.Backfill.AppID, l.Backfill.ID, l.First()+i, chunk)
		if err != nil {
			return nil, false, fmt.Errorf("beginning lines: %w", err)
		}
		args = append(args, ids)
	}
	answer, err := b.run(ctx, b.begin, l.Backfill.ID, args...)
	switch {
	case err != nil:
	case len(answer) == 1 && answer[0] == "committed":
		return nil, true, nil
	case len(answer) != 1+len(w.Chunks) || answer[0] != "ok":
		err = errAnswer
		if len(answer) > 0 {
			err = refusedBackfill(answer[0])
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("beginning lines: %w", err)
	}
	ended = make([]bool, len(w.Chunks))
	for i := range ended {
		ended[i] = answer[1+i] == int64(1)
	}
	return ended, false, nil
}

// Commit counts the lines of a window that was begun, once its tasks have been written, and brings l up to date. It may be
// repeated.
func (b *Backfills) Commit(ctx context.Context, l *Loading, w *Window) error {
	args := make([]any, 0, 7+len(w.Rejects))
	args = append(args, l.writer, l.Backfill.Lines, w.To, w.Digest, w.Accepted, w.Rejected, MaxRejects)
	for _, reject := range w.Rejects {
		text, err := json.Marshal(reject)
		if err != nil {
			return fmt.Errorf("committing lines: %w", err)
		}
		args = append(args, text)
	}
	answer, err := b.run(ctx, b.commit, l.Backfill.ID, args...)
	if err == nil {
		err = l.advance(answer)
	}
	if err != nil {
		return fmt.Errorf("committing lines: %w", err)
	}
	return nil
}

// Complete notes that all lines are in. It may be repeated.
func (b *Backfills) Complete(ctx context.Context, l *Loading) error {
	answer, err := b.run(ctx, b.complete, l.Backfill.ID, l.writer, l.Backfill.Lines)
	if err == nil {
		err = l.advance(answer)
	}
	if err != nil {
		return fmt.Errorf("completing a backfill: %w", err)
	}
	return nil
}

// advance takes over what a script says.
func (l *Loading) advance(answer []any) error {
	now, err := backfillOf(l.Backfill.ID, answer)
	if err != nil {
		return err
	}
	l.Backfill, l.digest, l.Begun = now, pairs(answer)["digest"], nil
	return nil
}

// sealIDs is a chunk's cloudIDs as they are stored. None holds a line break: that cannot be printed.
func (b *Backfills) sealIDs(appID, id string, chunk int, cloudIDs []string) ([]byte, error) {
	text := []byte(strings.Join(cloudIDs, "\n"))
	if b.codec.keyset == nil {
		return text, nil
	}
	sealed, err := b.codec.keyset.Seal(nil, text, chunkAD(appID, id, chunk))
	if err != nil {
		return nil, errSeal
	}
	return sealed, nil
}

// openIDs reads what sealIDs has written. What is sealed begins with a byte that no cloudID begins with
// (https://developers.google.com/tink/wire-format).
func (b *Backfills) openIDs(appID, id string, chunk int, stored string) ([]string, error) {
	if stored == "" || stored[0] >= ' ' {
		return strings.Split(stored, "\n"), nil
	}
	if b.codec.keyset == nil {
		return nil, ErrUnreadable
	}
	text, err := b.codec.keyset.Open(nil, []byte(stored), chunkAD(appID, id, chunk))
	if err != nil {
		return nil, ErrUnreadable
	}
	return strings.Split(string(text), "\n"), nil
}

// chunkAD binds a chunk to its place.
func chunkAD(appID, id string, chunk int) seal.AD {
	return seal.AD{Field: "backfill", AppID: appID, CloudID: id + "_" + strconv.Itoa(chunk)}
}
