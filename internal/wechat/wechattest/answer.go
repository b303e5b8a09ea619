package wechattest

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// Codes at the first level of an answer
// (developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html).
const (
	codeBusy             = -1
	codeInvalidToken     = 40001
	codeInvalidGrantType = 40002
	codeInvalidOpenID    = 40003
	codeInvalidArgs      = 40097
	codeInvalidSecret    = 40125
	codeTokenMissing     = 41001
	codeAppIDMissing     = 41002
	codeSecretMissing    = 41004
	codeTokenExpired     = 42001
	codeNeedPost         = 43002
	codeEmptyPost        = 44002
	codeDailyQuota       = 45009
	codeMinuteQuota      = 45011
	codeDataFormat       = 47001
	codeUnauthorized     = 48001
	codeNeedGet          = 43001
)

// Codes of third-party platforms and of cloud hosting
// (developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/Before_Develop/creat_token.md,
// developers.weixin.qq.com/minigame/dev/wxcloudrun/src/guide/weixin/faq.html), and of quota/get.
const (
	codeNotAuthorised      = 61003
	codeTicketExpired      = 61005
	codeInvalidTicket      = 61006
	codeCodeExpired        = 61010
	codeInvalidComponent   = 61011
	codeNeedComponentToken = 61014
	codeInvalidRefresh     = 61023
	codeNotPermitted       = 85105
	codeNotListed          = 85107
	codeNotReady           = 85113
	codeForeignPath        = 76003
	codeUnknownPath        = 76021
)

// Codes of one item (npm wx-server-sdk@4.0.2, index.js:3108-3180).
const (
	itemBusy    = -601001
	itemInvalid = -601005
	itemExpired = -601006
	itemForeign = -601007
	itemNoPhone = -601009
)

// text returns WeChat's errmsg or errMsg for a code. The texts of 40001, 40003, 40125 and
// -601007 were captured. That of -601006 is documented with its full stop.
func text(code int) string {
	switch code {
	case codeBusy, itemBusy:
		return "system error"
	case codeInvalidToken:
		return "invalid credential, access_token is invalid or not latest, could get access_token by " +
			"getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r"
	case codeInvalidGrantType:
		return "invalid grant_type"
	case codeInvalidOpenID:
		return "invalid openid"
	case codeInvalidArgs:
		return "invalid args"
	case codeInvalidSecret:
		return "invalid appsecret"
	case codeTokenMissing:
		return "access_token missing"
	case codeAppIDMissing:
		return "appid missing"
	case codeSecretMissing:
		return "appsecret missing"
	case codeTokenExpired:
		return "access_token expired"
	case codeNeedPost:
		return "require POST method"
	case codeEmptyPost:
		return "empty post data"
	case codeDailyQuota:
		return "reach max api daily quota limit"
	case codeMinuteQuota:
		return "api minute-quota reach limit, must slower, retry next minute"
	case codeDataFormat:
		return "data format error"
	case codeNeedGet:
		return "require GET method"
	case codeUnauthorized:
		return "api unauthorized"
	default:
		return textBeyond(code)
	}
}

// textBeyond is text for the codes of an item, of third-party platforms, of cloud hosting and of
// quota/get.
func textBeyond(code int) string {
	switch code {
	case codeNotAuthorised:
		return "component is not authorized by this account"
	case codeTicketExpired:
		return "component ticket is expired"
	case codeInvalidTicket:
		return "component ticket is invalid"
	case codeCodeExpired:
		return "code is expired"
	case codeInvalidComponent:
		return "invalid component"
	case codeNeedComponentToken:
		return "must use component token for component api"
	case codeInvalidRefresh:
		return "refresh_token is invalid"
	case codeNotPermitted:
		return "not authorized"
	case codeNotListed:
		return "URL is not in the white list"
	case codeNotReady:
		return "cloudbase_token is not ready, try in minutes"
	case codeForeignPath:
		return "cgi_path is not of this account"
	case codeUnknownPath:
		return "cgi_path not found"
	case itemInvalid:
		return "invalid cloudID"
	case itemExpired:
		return "cloudID expired."
	case itemForeign:
		return "cloudID not belong to user."
	case itemNoPhone:
		return "missing mobile phone"
	default:
		return ""
	}
}

// appendError appends the answer to a request that failed as a whole:
//
//	{"errcode":40003,"errmsg":"invalid openid rid: 68aeab00-21ea7900-3a442400"}
//
// The first group of a rid is the Unix time in hex, as in rids that developers have published.
func (s *Simulator) appendError(b []byte, code int, now time.Time) []byte {
	b = append(b, `{"errcode":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"errmsg":"`...)
	b = append(b, text(code)...)
	b = append(b, ` rid: `...)
	tail := appendHex(nil, mix(s.cfg.Seed+s.rids.Add(1)))
	b = append(b, appendHex(nil, uint64(now.Unix()))[8:]...)
	b = append(b, '-')
	b = append(b, tail[:8]...)
	b = append(b, '-')
	b = append(b, tail[8:]...)
	return append(b, `"}`...)
}

// The odd whitespace in the entries below is WeChat's own, as in three answers captured in 2023.
// Success has no rid.
const (
	answerHead = `{"errcode":0,"errmsg":"ok","data_list":[`
	answerTail = `]}`
	entryHead  = `{"cloud_id":`
)

// appendDataEntry appends the entry of an item with data:
//
//	{"cloud_id":"69_x","json":"{ \"cloudID\":\"69_x\", \"data\":{…} }"}
func appendDataEntry(b []byte, id string, data []byte) []byte {
	b = appendEntryHead(b, id)
	b = append(b, `\", \"data\":`...)
	b = appendEscaped(b, data)
	return append(b, ` }"}`...)
}

// appendErrorEntry appends the entry of an item that failed. The errcode at the first level does
// not show the failure.
//
//	{"cloud_id":"73_y","json":"{ \"cloudID\":\"73_y\", \"errCode\":-601007,
//	\"errMsg\":\"cloudID not belong to user.\" }"}
func appendErrorEntry(b []byte, id string, code int) []byte {
	b = appendEntryHead(b, id)
	b = append(b, `\", \"errCode\":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `, \"errMsg\":\"`...)
	b = append(b, text(code)...)
	return append(b, `\" }"}`...)
}

// appendEmptyEntry appends the entry of an item with an empty json. wx-server-sdk handles this
// case (index.js:2154).
func appendEmptyEntry(b []byte, id string) []byte {
	b = append(b, entryHead...)
	b = append(b, quoted(id)...)
	return append(b, `,"json":""}`...)
}

// appendEntryHead appends an entry up to the cloudID in its json. The caller appends the closing
// quote.
func appendEntryHead(b []byte, id string) []byte {
	b = append(b, entryHead...)
	if plain(id) {
		b = append(b, '"')
		b = append(b, id...)
		b = append(b, `","json":"{ \"cloudID\":\"`...)
		return append(b, id...)
	}
	inner := quoted(id)
	b = append(b, inner...)
	b = append(b, `,"json":"{ \"cloudID\":\"`...)
	return appendEscaped(b, inner[1:len(inner)-1])
}

// plain reports whether s needs no escapes in a JSON string.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// quoted returns s as a JSON string.
func quoted(s string) []byte {
	b, _ := json.Marshal(s) // a string can always be marshalled
	return b
}

// appendEscaped appends JSON as the content of a JSON string. JSON without whitespace has no
// control characters, so only quotes and backslashes need an escape.
func appendEscaped(b, data []byte) []byte {
	start := 0
	for i, c := range data {
		if c == '"' || c == '\\' {
			b = append(b, data[start:i]...)
			b = append(b, '\\', c)
			start = i + 1
		}
	}
	return append(b, data[start:]...)
}
