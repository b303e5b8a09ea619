package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// FormerEnds holds the final statuses that cloudIDs had at some time, so that a later lookup
// can recognize a new one. It identifies a status by its content, not by its time: the clocks
// of the processes that accept, complete and wait need not agree. The zero value knows no final
// status.
type FormerEnds struct {
	marks   []string // one per cloudID, in order; empty = the cloudID had not failed or expired
	unknown bool     // the store did not answer
}

// endsUnknown is the text of FormerEnds that could not be read from the store.
const endsUnknown = "?"

// EndsSoFar records the final statuses that cloudIDs of one app have now. Call it before you
// request the cloudIDs, and pass its result to [Wait]. If the store does not answer, EndsSoFar
// returns the error and FormerEnds with which Wait never accepts a failed or expired record as
// new.
func EndsSoFar(ctx context.Context, r Results, appID string, cloudIDs []string) (FormerEnds, error) {
	records, err := r.Lookup(ctx, appID, cloudIDs)
	if err != nil {
		return FormerEnds{unknown: true}, fmt.Errorf("looking for former ends: %w", err)
	}
	var ends FormerEnds
	for i := range records {
		mark := records[i].mark()
		// Most cloudIDs are new, so allocate only when the first mark appears.
		if mark != "" && ends.marks == nil {
			ends.marks = make([]string, len(records))
		}
		if ends.marks != nil {
			ends.marks[i] = mark
		}
	}
	return ends, nil
}

// answeredBy reports whether rec completes the i-th cloudID for a caller that took e before its
// request. rec must be resolved, or have failed or expired in another way than e has recorded.
func (e FormerEnds) answeredBy(i int, rec *Record) bool {
	switch {
	case rec.Status == Resolved:
		return true
	case !rec.Status.Final() || e.unknown:
		return false
	default:
		return i >= len(e.marks) || e.marks[i] != rec.mark()
	}
}

// mark identifies a failed or expired status; for any other status it is empty. Two requests
// for one cloudID differ in the times of their acceptance and of their completion.
func (rec *Record) mark() string {
	if !rec.Status.Final() || rec.Status == Resolved {
		return ""
	}
	text := fmt.Sprintf("%s %d %d %d", rec.Status, rec.AcceptedAt.UnixMilli(), rec.FinishedAt.UnixMilli(), rec.Attempts)
	if rec.Error != nil {
		text += fmt.Sprintf(" %d %s", rec.Error.Code, rec.Error.RID)
	}
	// A hash keeps the mark short: with many cloudIDs, FormerEnds are stored as one text.
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// String returns a text that ParseFormerEnds reads. It is empty if no cloudID had failed or expired.
func (e FormerEnds) String() string {
	if e.unknown {
		return endsUnknown
	}
	return strings.Join(e.marks, ",")
}

// ParseFormerEnds reads a text from String.
func ParseFormerEnds(text string) FormerEnds {
	switch text {
	case "":
		return FormerEnds{}
	case endsUnknown:
		return FormerEnds{unknown: true}
	default:
		return FormerEnds{marks: strings.Split(text, ",")}
	}
}
