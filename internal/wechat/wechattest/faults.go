package wechattest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Faults maps fault names to their probability, from 0 (never) to 1 (always). The names are
// those of [FaultNames].
type Faults map[string]float64

// FaultInfo describes one fault, for help texts.
type FaultInfo struct {
	Name string
	// Per is what the fault strikes. For a "request", or an "item" of it, the fault is drawn
	// again each time, so a repetition can succeed. For a "cloudid" it is permanent.
	Per string
	// Help is one line without a full stop.
	Help string
}

// fault numbers the named faults, in the order in which they are drawn and printed.
type fault uint8

const (
	faultReset fault = iota
	faultHTTP500
	faultHTML
	faultBusy
	faultToken
	faultQuota
	faultRate
	faultGateway
	faultUnauthorized
	faultNotPermitted
	faultNotListed
	faultNotReady
	faultTruncated
	faultLost
	faultSlow
	faultMissing
	faultEmpty
	faultItemBusy
	faultExpired
	faultForeign
	faultInvalid
	faultNoPhone
	faultPoison
	faultWatermark
	numFaults
	noFault = numFaults
)

// FaultNames lists every fault in the order in which they are drawn. Faults that a request meets
// first come first.
func FaultNames() []FaultInfo {
	return []FaultInfo{
		faultReset:        {"reset", "request", "the connection is reset, nothing is processed"},
		faultHTTP500:      {"http500", "request", "HTTP 500 with an HTML page"},
		faultHTML:         {"html", "request", "HTTP 200 with an HTML page"},
		faultBusy:         {"busy", "request", "errcode -1, system error"},
		faultToken:        {"token", "request", "errcode 40001 for a valid token"},
		faultQuota:        {"quota", "request", "errcode 45009, the daily quota is used up"},
		faultRate:         {"rate", "request", "errcode 45011, the quota per minute is used up"},
		faultGateway:      {"gateway", "request", "HTTP 502, as cloud hosting answers for a path that is not listed"},
		faultUnauthorized: {"unauthorized", "request", "errcode 48001, the app lacks the permission"},
		faultNotPermitted: {"notpermitted", "request", "errcode 85105, as cloud hosting answers without permission"},
		faultNotListed:    {"notlisted", "request", "errcode 85107, as cloud hosting answers for a path that is not listed"},
		faultNotReady:     {"notready", "request", "errcode 85113, as cloud hosting answers in its first minutes"},
		faultTruncated:    {"truncated", "request", "processed, but only half of the JSON arrives"},
		faultLost:         {"lost", "request", "processed, but the connection closes without an answer"},
		faultSlow:         {"slow", "request", "ten times the latency; combines with other faults"},
		faultMissing:      {"missing", "item", "the item's entry is absent from the answer"},
		faultEmpty:        {"empty", "item", "the item's json is the empty string"},
		faultItemBusy:     {"itembusy", "item", "the item's errCode is -601001, system error"},
		faultExpired:      {"expired", "cloudid", "errCode -601006, cloudID expired"},
		faultForeign:      {"foreign", "cloudid", "errCode -601007, cloudID of another user"},
		faultInvalid:      {"invalid", "cloudid", "errCode -601005, invalid cloudID"},
		faultNoPhone:      {"nophone", "cloudid", "errCode -601009, missing mobile phone, for any kind"},
		faultPoison:       {"poison", "cloudid", "errcode 40097 for every request that contains it"},
		faultWatermark:    {"watermark", "cloudid", "data with the watermark of another app"},
	}
}

// ParseFaults parses a text such as "busy=0.1,missing=0.02". Whitespace around names and numbers
// is allowed. The empty string means no faults. The error lists every mistake.
func ParseFaults(spec string) (Faults, error) {
	faults := Faults{}
	if strings.TrimSpace(spec) == "" {
		return faults, nil
	}
	var wrong []error
	for part := range strings.SplitSeq(spec, ",") {
		name, number, found := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if !found {
			wrong = append(wrong, fmt.Errorf("%q is not of the form name=probability", part))
			continue
		}
		p, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("fault %q: %q is not a number", name, number))
			p = 0
		}
		if _, twice := faults[name]; twice {
			wrong = append(wrong, fmt.Errorf("fault %q is given twice", name))
		}
		faults[name] = p
	}
	if err := errors.Join(append(wrong, faults.validate())...); err != nil {
		return nil, err
	}
	return faults, nil
}

// validate returns an error that lists every unknown name and every value outside of 0 to 1.
func (f Faults) validate() error {
	var wrong []error
	known := f.known()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(known, name) {
			wrong = append(wrong, fmt.Errorf("unknown fault %q (known: %s)", name, strings.Join(known, ", ")))
		}
		if p := f[name]; !(p >= 0 && p <= 1) { // also true for NaN
			wrong = append(wrong, fmt.Errorf("fault %q: %v is not between 0 and 1", name, p))
		}
	}
	return errors.Join(wrong...)
}

// String returns f in the format of [ParseFaults].
func (f Faults) String() string {
	var b strings.Builder
	for _, name := range f.known() {
		p, set := f[name]
		if !set {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name + "=" + strconv.FormatFloat(p, 'g', -1, 64))
	}
	return b.String()
}

// known returns all fault names in order.
func (Faults) known() []string {
	var names []string
	for _, info := range FaultNames() {
		names = append(names, info.Name)
	}
	return names
}
