package tasks

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// longAgo is before every possible cloudID. An earlier time means that the producer confused
// seconds and milliseconds.
var longAgo = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// maxFaultsShown bounds the text of an [InvalidError]. A call of 100 cloudIDs can have hundreds
// of faults.
const maxFaultsShown = 20

// InvalidError lists everything that is wrong with a producer's input. It names fields,
// positions and limits. It never contains a submitted value, because submitted values are other
// people's data.
type InvalidError struct {
	Faults []Fault
}

// Fault is one problem.
type Fault struct {
	Field   string // "appid", "items[3].cloud_id"
	Problem string // "is empty", "has 600 bytes, at most 512 are allowed"
}

// Error lists the faults, the first 20 in full.
func (e *InvalidError) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i == maxFaultsShown {
			fmt.Fprintf(&b, "; and %d more", len(e.Faults)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.Field + " " + f.Problem)
	}
	return b.String()
}

// Validate checks the payload against the limits of this package. obtained_at must not be in the
// future; the reference is the current time or the time of acceptance, whichever is later. Its
// error is an [*InvalidError] with every fault.
func (p *ResolvePayload) Validate() error {
	now := time.Now()
	if p.AcceptedAt.After(now) { // a Client sets it by Redis's clock, and this machine's clock may be behind
		now = p.AcceptedAt
	}
	return p.validate(now)
}

// validate is Validate with now as the reference. If now is zero, obtained_at may be any time
// after the year 2000.
func (p *ResolvePayload) validate(now time.Time) error {
	var v validator
	v.problem("appid", AppIDProblem(p.AppID))
	v.name("webhook", p.Webhook)
	v.name("backfill", p.Backfill)
	if p.Erased < 0 || p.Erased > MaxItems {
		v.add("erased", fmt.Sprintf("is %d, 0 to %d are allowed", p.Erased, MaxItems))
	}
	if n := len(p.Items); n < 1 && p.Erased == 0 || n > MaxItems {
		v.add("items", fmt.Sprintf("has %d cloudIDs, 1 to %d are allowed", n, MaxItems))
	}
	for i := range p.Items {
		v.item(i, &p.Items[i], now)
	}
	return v.err()
}

// Validate checks one item against the limits of this package. obtained_at must not be after
// now, except for [MaxClockSkew]. Its error is an [*InvalidError] with every fault.
func (it *Item) Validate(now time.Time) error {
	var v validator
	v.fields(it, now)
	return v.err()
}

// validator collects faults.
type validator struct{ faults []Fault }

func (v *validator) err() error {
	if len(v.faults) == 0 {
		return nil
	}
	return &InvalidError{Faults: v.faults}
}

func (v *validator) add(field, problem string) {
	v.faults = append(v.faults, Fault{Field: field, Problem: problem})
}

// item checks the i-th item of a payload.
func (v *validator) item(i int, it *Item, now time.Time) {
	// The position is formatted only if there is a fault, because this code runs for every
	// cloudID.
	before := len(v.faults)
	v.fields(it, now)
	for j := before; j < len(v.faults); j++ {
		v.faults[j].Field = fmt.Sprintf("items[%d].%s", i, v.faults[j].Field)
	}
}

func (v *validator) fields(it *Item, now time.Time) {
	v.text("cloud_id", it.CloudID, 1, MaxCloudIDBytes)
	v.text("openid", it.OpenID, 0, MaxOpenIDBytes)
	v.text("reference", it.Reference, 0, MaxRefBytes)
	if p := timeProblem(it.ObtainedAt, now); p != "" {
		v.add("obtained_at", p)
	}
}

func (v *validator) text(field, s string, minBytes, maxBytes int) {
	v.problem(field, textProblem(s, minBytes, maxBytes))
}

// name checks a field that may be empty.
func (v *validator) name(field, s string) {
	if s != "" {
		v.problem(field, NameProblem(s))
	}
}

func (v *validator) problem(field, problem string) {
	if problem != "" {
		v.add(field, problem)
	}
}

// textProblem returns the problem with s, or "". WeChat documents no format for cloudIDs and
// openids, so only their length and printability are checked.
func textProblem(s string, minBytes, maxBytes int) string {
	if len(s) < minBytes {
		return "is empty"
	}
	if len(s) > maxBytes {
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(s), maxBytes)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= utf8.RuneSelf || s[i] == 0x7f {
			return unprintable(s)
		}
	}
	return ""
}

// unprintable returns the problem with a text that is not plain ASCII, or "".
func unprintable(s string) string {
	if !utf8.ValidString(s) {
		return "is not UTF-8"
	}
	for i, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Sprintf("has a character at byte %d that cannot be printed", i)
		}
	}
	return ""
}

// timeProblem returns the problem with obtained_at, or "". A zero now allows any future time.
func timeProblem(t, now time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.Before(longAgo):
		return "is before the year 2000 (seconds and milliseconds mixed up?)"
	case !now.IsZero() && t.After(now.Add(MaxClockSkew)):
		return fmt.Sprintf("is more than %s in the future", MaxClockSkew)
	default:
		return ""
	}
}
