package tasks

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// longAgo is before every possible cloudID. A time before it is a mix-up of seconds and milliseconds.
var longAgo = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// maxFaultsShown bounds the text of an [InvalidError]: a call of 100 cloudIDs can have hundreds of faults.
const maxFaultsShown = 20

// InvalidError tells all that is wrong with what a producer handed in. It names fields, positions and bounds and
// never holds a submitted value, since those are other people's data.
type InvalidError struct {
	Faults []Fault
}

// Fault is one thing that is wrong.
type Fault struct {
	Field   string // "appid", "items[3].cloud_id"
	Problem string // "is empty", "has 600 bytes, at most 512 are allowed"
}

// Error lists the faults.
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

// Validate checks the payload against the bounds of this package, as at the moment of acceptance or now, whichever is later:
// obtained_at must not be in its future. Its error is an [*InvalidError] with every fault.
func (p *ResolvePayload) Validate() error {
	now := time.Now()
	if p.AcceptedAt.After(now) { // by Redis's clock if a Client has written it, and ours is behind then
		now = p.AcceptedAt
	}
	return p.validate(now)
}

// validate is Validate as at a moment. The zero one has no future.
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

// Validate checks one item against the bounds of this package, as at a moment: obtained_at must not be in its future.
// Its error is an [*InvalidError] with every fault.
func (it *Item) Validate(now time.Time) error {
	var v validator
	v.fields(it, now)
	return v.err()
}

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

func (v *validator) item(i int, it *Item, now time.Time) {
	// The place is only built for a fault: this runs for every cloudID.
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

// name is for a field that may be empty.
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

// textProblem says what is wrong with s, or nothing. WeChat documents no form for cloudIDs and openids, so nothing is
// asked of them but a length and that they can be printed.
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
