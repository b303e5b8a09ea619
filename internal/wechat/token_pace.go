package wechat

import "time"

// refusal is WeChat's objection to a token.
type refusal uint8

const (
	accepted refusal = iota
	// doubted is 40001 or 40014. WeChat sometimes returns them for valid tokens: for 12,579 of
	// 27,795 calls within 26 minutes
	// (https://developers.weixin.qq.com/community/personal/oCJUsw5Gtfz2YhL0_jK520KjYHFI/answer).
	doubted
	// expired is 42001, which is always true.
	expired
)

const codeTokenExpired = 42001

// refusalOf returns the refusal that an errcode expresses.
func refusalOf(code int) refusal {
	if code == codeTokenExpired {
		return expired
	}
	return doubted
}

// quietPeriod is the time without a fetch after which the count of fetches in a row starts again.
const quietPeriod = time.Minute

// pace defines how long after the last fetch a refused token may be fetched again. The n-th wait
// applies to the n-th such fetch in a row; the last wait applies to all later fetches. All
// processes share the count, which is cached with the token.
type pace struct{ doubted, expired []time.Duration }

var (
	// paceOfSource is for endpoints that may be called often. stable_token without force_refresh
	// returns the valid token and allows 10,000 calls per minute. Therefore the first refusal
	// leads to a fetch at once, and a storm of spurious 40001 costs four calls in five seconds.
	// A token with 42001 has really expired, so the first three such fetches do not wait. An
	// endpoint whose new tokens are also refused as expired is slowed down as well.
	paceOfSource = pace{
		doubted: []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second},
		expired: []time.Duration{0, 0, 0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second},
	}
	// paceOfLegacy is for /cgi-bin/token, where each call voids the previous token after 5
	// minutes. During a storm of refusals it stays below the endpoint's 2,000 calls a day
	// (https://developers.weixin.qq.com/doc/service/guide/dev/api/limit.html).
	paceOfLegacy = pace{doubted: []time.Duration{time.Minute}, expired: []time.Duration{time.Minute}}
)

// rows counts the fetches in a row that refusals have caused.
type rows struct {
	Doubted int `json:"doubted,omitempty"`
	Expired int `json:"expired,omitempty"`
}

// wait returns how long after the last fetch a token with this refusal may be fetched again.
func (p pace) wait(r rows, why refusal) time.Duration {
	if why == expired {
		return p.expired[min(r.Expired, len(p.expired)-1)]
	}
	return p.doubted[min(r.Doubted, len(p.doubted)-1)]
}

// may reports whether a token with this refusal may be fetched again. age is the time since the
// last fetch.
func (p pace) may(r rows, why refusal, age time.Duration) bool { return age >= p.wait(r, why) }

// next counts a fetch that the refusal causes. age is the time since the previous fetch.
func (r rows) next(why refusal, age time.Duration) rows {
	if age >= quietPeriod {
		r = rows{}
	}
	switch why {
	case doubted:
		r.Doubted++
	case expired:
		r.Expired++
	case accepted: // a regular refresh
		r = rows{}
	}
	return r
}
