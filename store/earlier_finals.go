package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// EarlierFinals holds the final statuses that cloudIDs had at some time, so that a later lookup
// can recognize a new one. It identifies a status by its content, not by its time: the clocks
// of the processes that accept, complete and wait need not agree. The zero value knows no final
// status.
type EarlierFinals struct {
	marks   []string // one per cloudID, in order; empty = the cloudID had not failed or expired
	unknown bool     // the store did not answer
}

// finalsUnknown is the text of EarlierFinals that could not be read from the store.
const finalsUnknown = "?"

// FinalsSoFar records the final statuses that cloudIDs of one app have now. Call it before you
// request the cloudIDs, and pass its result to [Wait]. If the store does not answer, FinalsSoFar
// returns the error and EarlierFinals with which Wait never accepts a failed or expired record as
// new.
func FinalsSoFar(
	ctx context.Context, r Results, appID string, cloudIDs []string,
) (EarlierFinals, error) {
	records, err := r.Lookup(ctx, appID, cloudIDs)
	if err != nil {
		return EarlierFinals{unknown: true}, fmt.Errorf("looking up earlier final statuses: %w", err)
	}
	var finals EarlierFinals
	for i := range records {
		mark := records[i].mark()
		// Most cloudIDs are new, so allocate only when the first mark appears.
		if mark != "" && finals.marks == nil {
			finals.marks = make([]string, len(records))
		}
		if finals.marks != nil {
			finals.marks[i] = mark
		}
	}
	return finals, nil
}

// answeredBy reports whether rec completes the i-th cloudID for a caller that took e before its
// request. rec must be resolved, or have failed or expired in another way than e has recorded.
func (e EarlierFinals) answeredBy(i int, rec *Record) bool {
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
	// A hash keeps the mark short: with many cloudIDs, EarlierFinals are stored as one text.
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// String returns a text that ParseEarlierFinals reads. It is empty if no cloudID had failed or
// expired.
func (e EarlierFinals) String() string {
	if e.unknown {
		return finalsUnknown
	}
	return strings.Join(e.marks, ",")
}

// ParseEarlierFinals reads a text from String.
func ParseEarlierFinals(text string) EarlierFinals {
	switch text {
	case "":
		return EarlierFinals{}
	case finalsUnknown:
		return EarlierFinals{unknown: true}
	default:
		return EarlierFinals{marks: strings.Split(text, ",")}
	}
}
