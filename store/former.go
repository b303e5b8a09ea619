package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// FormerEnds are the ends that cloudIDs have had by some moment, so that a later look can tell a new one. They are known by what
// they are, not by when they were: the clocks of those who accept, end and wait have no say. The zero value knows of none.
type FormerEnds struct {
	marks   []string // one per cloudID, in order; empty = it had not failed or expired
	unknown bool     // the store did not answer
}

// endsUnknown is the text of FormerEnds that could not be had.
const endsUnknown = "?"

// EndsSoFar notes the ends that cloudIDs of one app have had: call it before you ask for them, and give what it returns to
// [Wait]. When the store does not answer, the error comes with FormerEnds by which no failure is ever taken for a new one.
func EndsSoFar(ctx context.Context, r Results, appID string, cloudIDs []string) (FormerEnds, error) {
	records, err := r.Lookup(ctx, appID, cloudIDs)
	if err != nil {
		return FormerEnds{unknown: true}, fmt.Errorf("looking for former ends: %w", err)
	}
	var ends FormerEnds
	for i := range records {
		mark := records[i].mark()
		if mark != "" && ends.marks == nil {
			ends.marks = make([]string, len(records))
		}
		if ends.marks != nil {
			ends.marks[i] = mark
		}
	}
	return ends, nil
}

// answeredBy reports whether rec ends the i-th cloudID for whoever took e before asking: it is resolved, or has failed or
// expired in another way than it had by then.
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

// mark names an end that is not data. Two asks for one cloudID differ in when they were accepted and in when they ended.
func (rec *Record) mark() string {
	if !rec.Status.Final() || rec.Status == Resolved {
		return ""
	}
	text := fmt.Sprintf("%s %d %d %d", rec.Status, rec.AcceptedAt.UnixMilli(), rec.FinishedAt.UnixMilli(), rec.Attempts)
	if rec.Error != nil {
		text += fmt.Sprintf(" %d %s", rec.Error.Code, rec.Error.RID)
	}
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// String is a text that parseEnds reads; it is empty if none had ended.
func (e FormerEnds) String() string {
	if e.unknown {
		return endsUnknown
	}
	return strings.Join(e.marks, ",")
}

func parseEnds(text string) FormerEnds {
	switch text {
	case "":
		return FormerEnds{}
	case endsUnknown:
		return FormerEnds{unknown: true}
	default:
		return FormerEnds{marks: strings.Split(text, ",")}
	}
}
