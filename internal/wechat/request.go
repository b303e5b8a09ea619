package wechat

import (
	"encoding/json"
	"net/url"
)

// openDataURL returns base with the credential and the openid, if there are any. If a side-car
// adds the credential, the URL must be plain http: with https the side-car's own certificate
// fails
// (https://developers.weixin.qq.com/community/personal/oCJUsw5FCPCAlFfAT9L7vJTYm5II/answer).
func openDataURL(base url.URL, token Token, openID string) url.URL {
	var q []byte
	if token.Param == "" {
		base.Scheme = "http"
	} else {
		q = appendParam(q, token.Param, token.Value.Reveal())
	}
	if token.FromAppID != "" {
		q = appendParam(q, "from_appid", token.FromAppID)
	}
	if openID != "" {
		q = appendParam(q, "openid", openID)
	}
	base.RawQuery = string(q)
	return base
}

// appendParam appends a query parameter with an escaped value.
func appendParam(q []byte, name, value string) []byte {
	if len(q) > 0 {
		q = append(q, '&')
	}
	q = append(append(q, name...), '=')
	return append(q, url.QueryEscape(value)...)
}

// requestBody returns {"cloudid_list":[…]}.
func requestBody(cloudIDs []string) []byte {
	const open, end = `{"cloudid_list":[`, `]}`
	size := len(open) + len(end)
	for _, id := range cloudIDs {
		size += len(id) + len(`"",`)
	}
	content := append(make([]byte, 0, size), open...)
	for i, id := range cloudIDs {
		if i > 0 {
			content = append(content, ',')
		}
		content = appendQuoted(content, id)
	}
	return append(content, end...)
}

// appendQuoted appends text as a JSON string. WeChat's cloudIDs need no escapes, so the common
// case copies the bytes.
func appendQuoted(content []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(text) // a string can always be marshalled
			return append(content, quoted...)
		}
	}
	content = append(content, '"')
	content = append(content, text...)
	return append(content, '"')
}
