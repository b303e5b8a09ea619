package backfill

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
	"cloudidq/store"
)

// Loading is the right to add lines to a backfill. It ends when another client opens the
// backfill. Of two clients the later one continues, since the earlier one may have crashed.
type Loading struct {
	Backfill Backfill
	// Begun is the window that was begun and not committed; nil = none.
	Begun *Begun

	writer string
	digest string // digest of the committed lines
}

// Begun describes a begun window without its lines.
type Begun struct {
	To      int       // how many lines are committed with the window
	Digest  string    // digest of those lines
	Checked time.Time // when its lines were checked
	chunks  string
}

// Window is the next part of a file to load: some lines after the committed ones. The caller
// splits them into chunks.
type Window struct {
	To      int       // number of its last line
	Digest  string    // digest of all lines up to To, without whitespace
	Checked time.Time // when its lines were checked
	// Chunks are the cloudIDs of each task, in the order of the lines.
	Chunks   [][]string
	Accepted int // accepted lines of the window
	Rejected int // rejected lines of the window
	Rejects  []Reject
}

// layout returns how many cloudIDs each chunk has, separated by commas.
func (w *Window) layout() string {
	sizes := make([]string, len(w.Chunks))
	for i, chunk := range w.Chunks {
		sizes[i] = strconv.Itoa(len(chunk))
	}
	return strings.Join(sizes, ",")
}

// Create creates a backfill with the ID, AppID, Webhook and Format of as. If a backfill of this
// ID exists, Create continues it. If that one has another app, webhook or format, Create
// returns it and leaves it as it is. Compare the returned Backfill with as.
func (b *Store) Create(ctx context.Context, as Backfill) (Loading, error) {
	return b.load(ctx, as, 1)
}

// Resume continues a backfill, or returns ErrNotFound if it does not exist.
func (b *Store) Resume(ctx context.Context, id string) (Loading, error) {
	return b.load(ctx, Backfill{ID: id}, 0)
}

// load opens a backfill for a new writer. With create 1 it creates the backfill if it does not
// exist.
func (b *Store) load(ctx context.Context, as Backfill, create int) (Loading, error) {
	l := Loading{writer: rand.Text()}
	answer, err := b.runScript(ctx, b.open, as.ID, l.writer, create, as.AppID, as.Webhook, as.Format)
	if err == nil {
		l.Backfill, err = backfillOf(as.ID, answer)
	}
	if err != nil {
		return Loading{}, fmt.Errorf("opening a backfill: %w", err)
	}
	// An earlier client may have stopped between Begin and Commit. Begun describes that window.
	fields := pairs(answer)
	l.digest = fields["digest"]
	if l.Begun, err = parseBegun(fields["begun"]); err != nil {
		return Loading{}, fmt.Errorf("opening a backfill: %w", err)
	}
	return l, nil
}

// parseBegun parses the field begun: "lines digest checked n,n,…". It returns nil for an empty
// text.
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

// NextChunk returns the number of the next chunk.
func (l *Loading) NextChunk() int { return l.Backfill.chunks }

// Digest returns the digest of the committed lines.
func (l *Loading) Digest() string { return l.digest }

// Begin stores which lines come next, before their tasks are enqueued. For each chunk, finished
// reports whether all its cloudIDs already have a final status, as after a crash. The tasks of
// such chunks need not be enqueued again. Begin may be repeated. If the window is committed
// already, committed is true. The errors include [ErrNotFound], [ErrSuperseded],
// [ErrCanceled], [ErrComplete] and [ErrDiffers].
func (b *Store) Begin(
	ctx context.Context, l *Loading, w *Window,
) (finished []bool, committed bool, err error) {
	// The cloudIDs are stored with the chunk, so that its results can be listed in the order of
	// the lines.
	args := make([]any, 0, 6+len(w.Chunks))
	args = append(args, l.writer, l.Backfill.Lines, w.To, w.Digest, w.Checked.UnixMilli(), w.layout())
	for i, chunk := range w.Chunks {
		ids, err := b.sealIDs(l.Backfill.AppID, l.Backfill.ID, l.NextChunk()+i, chunk)
		if err != nil {
			return nil, false, fmt.Errorf("beginning a window: %w", err)
		}
		args = append(args, ids)
	}
	answer, err := b.runScript(ctx, b.begin, l.Backfill.ID, args...)
	// The script answers "ok" and a flag per chunk, or a single word.
	switch {
	case err != nil:
	case len(answer) == 1 && answer[0] == "committed":
		return nil, true, nil
	case len(answer) != 1+len(w.Chunks) || answer[0] != "ok":
		err = errAnswer
		if len(answer) > 0 {
			err = scriptError(answer[0])
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("beginning a window: %w", err)
	}
	finished = make([]bool, len(w.Chunks))
	for i := range finished {
		finished[i] = answer[1+i] == int64(1)
	}
	return finished, false, nil
}

// Commit counts the lines of a begun window once its tasks are enqueued, and updates l. It may
// be repeated.
func (b *Store) Commit(ctx context.Context, l *Loading, w *Window) error {
	args := make([]any, 0, 7+len(w.Rejects))
	args = append(args, l.writer, l.Backfill.Lines, w.To, w.Digest, w.Accepted, w.Rejected, MaxRejects)
	for _, reject := range w.Rejects {
		text, err := json.Marshal(reject)
		if err != nil {
			return fmt.Errorf("committing a window: %w", err)
		}
		args = append(args, text)
	}
	answer, err := b.runScript(ctx, b.commit, l.Backfill.ID, args...)
	if err == nil {
		err = l.advance(answer)
	}
	if err != nil {
		return fmt.Errorf("committing a window: %w", err)
	}
	return nil
}

// Complete records that all lines are committed, and updates l. It may be repeated.
func (b *Store) Complete(ctx context.Context, l *Loading) error {
	answer, err := b.runScript(ctx, b.complete, l.Backfill.ID, l.writer, l.Backfill.Lines)
	if err == nil {
		err = l.advance(answer)
	}
	if err != nil {
		return fmt.Errorf("completing a backfill: %w", err)
	}
	return nil
}

// advance updates l from the answer of a script.
func (l *Loading) advance(answer []any) error {
	now, err := backfillOf(l.Backfill.ID, answer)
	if err != nil {
		return err
	}
	l.Backfill, l.digest, l.Begun = now, pairs(answer)["digest"], nil
	return nil
}

// sealIDs returns the stored form of a chunk's cloudIDs. No cloudID contains a line break,
// because cloudIDs are printable.
func (b *Store) sealIDs(appID, id string, chunk int, cloudIDs []string) ([]byte, error) {
	text := []byte(strings.Join(cloudIDs, "\n"))
	if b.keyset == nil {
		return text, nil
	}
	sealed, err := b.keyset.Seal(nil, text, chunkAD(appID, id, chunk))
	if err != nil {
		return nil, errors.New("sealing cloudIDs failed")
	}
	return sealed, nil
}

// openIDs parses the form that sealIDs returns. Sealed text begins with a byte that no cloudID
// begins with (https://developers.google.com/tink/wire-format).
func (b *Store) openIDs(appID, id string, chunk int, stored string) ([]string, error) {
	if stored == "" || stored[0] >= ' ' {
		return strings.Split(stored, "\n"), nil
	}
	if b.keyset == nil {
		return nil, store.ErrUnreadable
	}
	text, err := b.keyset.Open(nil, []byte(stored), chunkAD(appID, id, chunk))
	if err != nil {
		return nil, store.ErrUnreadable
	}
	return strings.Split(string(text), "\n"), nil
}

// chunkAD binds the sealed cloudIDs to their backfill and chunk.
func chunkAD(appID, id string, chunk int) seal.AD {
	return seal.AD{Field: "backfill", AppID: appID, CloudID: id + "_" + strconv.Itoa(chunk)}
}
