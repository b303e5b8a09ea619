package wechattest

import (
	"encoding/json"
	"time"
)

// The final statuses of a record.
const (
	StatusResolved = "resolved"
	StatusFailed   = "failed"
	StatusExpired  = "expired"
)

// Truth is the correct content of a cloudID's record once transient faults are over.
type Truth struct {
	Status string          `json:"status"`
	Kind   string          `json:"kind,omitempty"` // if resolved
	Data   json.RawMessage `json:"data,omitempty"` // if resolved: WeChat's JSON without whitespace around tokens
	Code   int             `json:"code,omitempty"` // errCode or errcode if failed or expired; 0 for a wrong watermark
	// Deadline is when the lifetime of a genuine cloudID of this app ends. A later request gets
	// -601006, so a record may then say expired although Status differs.
	Deadline time.Time `json:"deadline,omitzero"`
}

// Truth returns the correct content of the record of cloudID. It assumes an exchange for openID,
// which may be empty, with a token of appID, before the cloudID's lifetime ends. A transient
// fault with probability 1 makes every truth unreachable.
func (s *Simulator) Truth(appID, openID, cloudID string) Truth {
	c := caller{appID: appID, app: s.codec.appHash(appID), anyone: openID == ""}
	if !c.anyone {
		var known bool
		if c.user, known = s.codec.readOpenID(c.app, openID); !known {
			return Truth{Status: StatusFailed, Code: codeInvalidOpenID}
		}
	}
	d := s.decide(c, cloudID, hashString(cloudID))
	t := Truth{Status: StatusFailed, Code: d.code}
	if d.genuine {
		t.Deadline = time.UnixMilli(d.facts.issuedMs).Add(s.cfg.Lifetime).UTC()
	}
	switch {
	case d.code == itemExpired:
		t.Status = StatusExpired
	case d.code == 0 && d.fault != faultWatermark:
		t.Status, t.Kind = StatusResolved, d.facts.kind.String()
		t.Data = appendData(nil, d.facts, s.cfg.Seed, appID)
	}
	return t
}

// caller identifies the app and user of an exchange.
type caller struct {
	appID  string
	app    appHash
	user   uint32
	anyone bool // the request has no openid
}

// decision is the decision about a cloudID for one caller, without regard to the clock and to
// transient faults.
type decision struct {
	facts   facts
	genuine bool  // of this seed and app, so facts are valid
	theirs  bool  // genuine, and it belongs to the caller or the caller has no openid
	code    int   // 0 if there is data; codeInvalidArgs concerns the whole request
	fault   fault // the permanent fault that causes it, or noFault
}

// decide decides the outcome for the cloudID id with hash h.
func (s *Simulator) decide(c caller, id string, h uint64) decision {
	f, ok := s.codec.readCloudID(id)
	if !ok {
		return decision{code: itemInvalid, fault: noFault}
	}
	if f.app != c.app {
		return decision{code: itemForeign, fault: noFault}
	}
	d := decision{facts: f, genuine: true, theirs: c.anyone || f.user == c.user, fault: noFault}
	switch {
	case s.dice.strikes(faultPoison, h, 0):
		d.code, d.fault = codeInvalidArgs, faultPoison
	case !d.theirs:
		d.code = itemForeign
	default:
		d.fault = s.dice.first(faultExpired, faultNoPhone, h, 0)
		if d.fault == noFault && s.dice.strikes(faultWatermark, h, 0) {
			d.fault = faultWatermark
		}
		d.code = codeOf(d.fault)
	}
	return d
}

// codeOf returns the item code of a permanent fault, or 0 for a fault that still returns data.
func codeOf(f fault) int {
	switch f {
	case faultExpired:
		return itemExpired
	case faultForeign:
		return itemForeign
	case faultInvalid:
		return itemInvalid
	case faultNoPhone:
		return itemNoPhone
	default:
		return 0
	}
}
