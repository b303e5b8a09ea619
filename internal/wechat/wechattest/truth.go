package wechattest

import (
	"encoding/json"
	"time"
)

// The states that a record can end in.
const (
	StatusResolved = "resolved"
	StatusFailed   = "failed"
	StatusExpired  = "expired"
)

// Truth is what must end up in the record of a cloudID once transient faults are over.
type Truth struct {
	Status string          `json:"status"`
	Kind   string          `json:"kind,omitempty"` // of a resolved one
	Data   json.RawMessage `json:"data,omitempty"` // of a resolved one: WeChat's JSON without blanks around tokens
	Code   int             `json:"code,omitempty"` // errCode or errcode of a failed or expired one; 0 for a wrong watermark
	// Deadline is when the lifetime of a genuine cloudID of this app ends. Whoever asks later gets -601006, so a
	// record may also say expired where Status says something else.
	Deadline time.Time `json:"deadline,omitzero"`
}

// Truth tells what must end up in the record of cloudID if it is exchanged for openID, or for none, under the token of
// appID before its lifetime ends. A transient fault of probability 1 makes every truth unreachable.
func (s *Simulator) Truth(appID, openID, cloudID string) Truth {
	c := caller{appID: appID, app: s.codec.appHash(appID), anyone: openID == ""}
	if !c.anyone {
		var known bool
		if c.user, known = s.codec.readOpenID(c.app, openID); !known {
			return Truth{Status: StatusFailed, Code: codeInvalidOpenID}
		}
	}
	v := s.judge(c, cloudID, hashString(cloudID))
	t := Truth{Status: StatusFailed, Code: v.code}
	if v.genuine {
		t.Deadline = time.UnixMilli(v.facts.issuedMs).Add(s.cfg.Lifetime).UTC()
	}
	switch {
	case v.code == itemExpired:
		t.Status = StatusExpired
	case v.code == 0 && v.fault != faultWatermark:
		t.Status, t.Kind = StatusResolved, v.facts.kind.String()
		t.Data = appendData(nil, v.facts, s.cfg.Seed, appID)
	}
	return t
}

// caller is who exchanges a cloudID.
type caller struct {
	appID  string
	app    appHash
	user   uint32
	anyone bool // the request has no openid
}

// verdict is what is true of a cloudID for one caller, the clock and transient faults aside.
type verdict struct {
	facts   facts
	genuine bool  // of this seed and app, so facts hold
	theirs  bool  // genuine, and the caller's own or of a caller without openid
	code    int   // 0 if there is data; codeInvalidArgs concerns the whole request
	fault   fault // the permanent fault behind it, or noFault
}

// judge finds the verdict over id, whose hash is h.
func (s *Simulator) judge(c caller, id string, h uint64) verdict {
	f, ok := s.codec.readCloudID(id)
	if !ok {
		return verdict{code: itemInvalid, fault: noFault}
	}
	if f.app != c.app {
		return verdict{code: itemForeign, fault: noFault}
	}
	v := verdict{facts: f, genuine: true, theirs: c.anyone || f.user == c.user, fault: noFault}
	switch {
	case s.dice.strikes(faultPoison, h, 0):
		v.code, v.fault = codeInvalidArgs, faultPoison
	case !v.theirs:
		v.code = itemForeign
	default:
		v.fault = s.dice.first(faultExpired, faultNoPhone, h, 0)
		if v.fault == noFault && s.dice.strikes(faultWatermark, h, 0) {
			v.fault = faultWatermark
		}
		v.code = codeOf(v.fault)
	}
	return v
}

// codeOf returns the item code of a permanent fault, 0 for those that bring data.
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
