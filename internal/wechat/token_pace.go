package wechat

import "time"

// refusal is what WeChat says against a token.
type refusal uint8

const (
	accepted refusal = iota
	// doubted is 40001 or 40014, which WeChat answers at times for tokens that are good: 12,579 of 27,795 calls within 26
	// minutes (https://developers.weixin.qq.com/community/personal/oCJUsw5Gtfz2YhL0_jK520KjYHFI/answer).
	doubted
	// expired is 42001, which is true whenever it is said.
	expired
)

const codeTokenExpired = 42001

// refusalOf returns what an errcode says against the token that a call carried.
func refusalOf(code int) refusal {
	if code == codeTokenExpired {
		return expired
	}
	return doubted
}

// calm is how long nobody has to fetch a refused token anew until it counts as the first refusal again.
const calm = time.Minute

// pace says how long after the last fetch a refused token may be fetched again. The n-th wait is for the n-th such fetch in a
// row, the last one for all that follow. The rows belong to all processes together: they stand in the cache beside the token.
type pace struct{ doubted, expired []time.Duration }

var (
	// paceOfSource is for endpoints that do not mind to be asked. stable_token without force_refresh gives the token that is
	// good, and may be called 10,000 times a minute; so the first refusal is looked into at once, and a storm of spurious
	// 40001 costs four calls in five seconds. A token that has expired is never a good one. Whoever keeps saying so of new
	// tokens is slowed down all the same.
	paceOfSource = pace{
		doubted: []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second},
		expired: []time.Duration{0, 0, 0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second},
	}
	// paceOfLegacy is for /cgi-bin/token, where each call voids the token before. It keeps a storm of refusals below the
	// endpoint's 2,000 calls a day (https://developers.weixin.qq.com/doc/service/guide/dev/api/limit.html).
	paceOfLegacy = pace{doubted: []time.Duration{time.Minute}, expired: []time.Duration{time.Minute}}
)

// rows counts the fetches in a row that refusals have led to.
type rows struct {
	Doubted int `json:"doubted,omitempty"`
	Expired int `json:"expired,omitempty"`
}

// wait returns how long after the last fetch a token that is refused like this may be fetched again.
func (p pace) wait(r rows, why refusal) time.Duration {
	if why == expired {
		return p.expired[min(r.Expired, len(p.expired)-1)]
	}
	return p.doubted[min(r.Doubted, len(p.doubted)-1)]
}

// may reports whether a token that is refused like this may be fetched again. age is the time since the last fetch.
func (p pace) may(r rows, why refusal, age time.Duration) bool { return age >= p.wait(r, why) }

// next counts a fetch that a refusal leads to. age is the time since the one before.
func (r rows) next(why refusal, age time.Duration) rows {
	if age >= calm {
		r = rows{}
	}
	switch why {
	case doubted:
		r.Doubted++
	case expired:
		r.Expired++
	case accepted: // the token's time is over
		r = rows{}
	}
	return r
}
