package wechat

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cloudidq/internal/secret"
)

// WeChat may append a request id, an older form of hint, both, or neither to its errmsg:
//
//	invalid credential, access_token is invalid or not latest rid: 68aeab00-21ea7900-3a442400
//	invalid credential, hint: [req_id: AbCdEf]
//
// `POST /cgi-bin/openapi/rid/get` accepts the id for seven days. Source:
// https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/openApi-mgnt/getRidInfo.html and
// captured answers.
var (
	ridPattern  = regexp.MustCompile(`,?\s*rid:\s*(?:([0-9a-f]{8}(?:-[0-9a-f]{8}){2})|$)`)
	hintPattern = regexp.MustCompile(`,?\s*hint:\s*\[[^\]]*\]`)
)

// ParseRID splits WeChat's request id from an errmsg. It returns the id, or "" if there is none,
// and the text without id and hint.
func ParseRID(errmsg string) (rid, rest string) {
	rest = strings.TrimSpace(hintPattern.ReplaceAllString(errmsg, ""))
	if !strings.Contains(rest, "rid:") {
		return "", rest
	}
	for _, match := range ridPattern.FindAllStringSubmatch(rest, -1) {
		if match[1] != "" {
			rid = match[1]
		}
	}
	return rid, strings.TrimSpace(ridPattern.ReplaceAllString(rest, ""))
}

// RIDTime returns when WeChat received the request: the first group of a rid is the Unix time in
// hexadecimal. This is not documented but observed. For example, 6949fe38-… is the time of the
// log line in silenceper/wechat#870.
func RIDTime(rid string) (time.Time, bool) {
	first, _, found := strings.Cut(rid, "-")
	if !found || len(first) != 8 {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseUint(first, 16, 32)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// submitted holds the values of a request that no error text may repeat.
type submitted struct {
	token    string
	hosted   bool          // the credential is cloud hosting's, not an access_token
	secrets  []secret.Text // credentials of a call to a token endpoint, used instead of token
	openID   string
	cloudIDs []string
}

const (
	maxMessage = 200 // maximum length of an errmsg in bytes

	// A value shorter than this identifies no one. Removing every "a" from a text would leave no
	// text.
	minSubmitted = 4
	concealed    = "…"
)

// clean prepares an errmsg for display: one line, short, and free of submitted values. It
// shortens the text last, because a shortened value would no longer be found.
func (s submitted) clean(text string) string {
	text = strings.Map(printable, text)
	text = conceal(text, s.token)
	for _, value := range s.secrets {
		text = conceal(text, value.Reveal())
	}
	text = conceal(text, s.openID)
	for _, id := range s.cloudIDs {
		text = conceal(text, id)
	}
	return cut(text, maxMessage)
}

// conceal removes value from text, both as it is and as escaped in the URL.
func conceal(text, value string) string {
	if len(value) < minSubmitted {
		return text
	}
	text = strings.ReplaceAll(text, value, concealed)
	if escaped := url.QueryEscape(value); escaped != value {
		text = strings.ReplaceAll(text, escaped, concealed)
	}
	return text
}

// printable is a function for [strings.Map]. It drops control characters, invisible format
// characters and line separators.
func printable(r rune) rune {
	if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError {
		return -1
	}
	return r
}

// cut shortens text to at most limit bytes without splitting a rune.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
