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

// WeChat appends to its errmsg a request id, formerly a hint, at times both, at times neither:
//
//	invalid credential, access_token is invalid or not latest rid: 68aeab00-21ea7900-3a442400
//	invalid credential, hint: [req_id: AbCdEf]
//
// The id opens `POST /cgi-bin/openapi/rid/get` for seven days.
// Source: https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/openApi-mgnt/getRidInfo.html and captured answers.
var (
	ridPattern  = regexp.MustCompile(`,?\s*rid:\s*(?:([0-9a-f]{8}(?:-[0-9a-f]{8}){2})|$)`)
	hintPattern = regexp.MustCompile(`,?\s*hint:\s*\[[^\]]*\]`)
)

// ParseRID takes WeChat's request id out of an errmsg. It returns the id, empty if there is none, and the text without
// id and hint.
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

// RIDTime tells when WeChat saw the request: the first group of a rid is the Unix time in hexadecimal. Nobody documents
// it; it is observed, as in 6949fe38-…, which is the time of the log line in silenceper/wechat#870.
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

// submitted is what a request carried and what no text of ours may repeat.
type submitted struct {
	token    string
	hosted   bool          // the credential is not an access_token of ours but cloud hosting's
	secrets  []secret.Text // towards an endpoint that gives tokens, in the token's place
	openID   string
	cloudIDs []string
}

const (
	maxMessage = 200 // bytes of an errmsg that are kept

	// A value shorter than this identifies nobody, and to take every "a" out of a text would leave no text.
	minSubmitted = 4
	concealed    = "…"
)

// clean makes an errmsg fit to be shown: on one line, short, and free of every submitted value. Cutting comes last, so
// that it cannot spare the first half of a value.
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

// conceal removes value from text, as it is and as it stood in the URL.
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

// printable is for [strings.Map]: it drops controls, invisible format characters and line separators.
func printable(r rune) rune {
	if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError {
		return -1
	}
	return r
}

// cut shortens text to at most limit bytes without halving a rune.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
