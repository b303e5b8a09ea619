package wechat

import (
	"encoding/json"
	"net/url"
)

// query returns the credential, if any, and the openid, if any.
func query(token Token, openID string) string {
	var q string
	if token.Param != "" {
		q = url.QueryEscape(token.Param) + "=" + url.QueryEscape(token.Value.Reveal())
	}
	if openID == "" {
		return q
	}
	if q != "" {
		q += "&"
	}
	return q + "openid=" + url.QueryEscape(openID)
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

// appendQuoted appends text as a JSON string. A cloudID as WeChat makes them needs no escapes.
func appendQuoted(content []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(text) // a string always can be marshalled
			return append(content, quoted...)
		}
	}
	content = append(content, '"')
	content = append(content, text...)
	return append(content, '"')
}
