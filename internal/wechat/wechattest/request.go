package wechattest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxBody is the maximum size of a request body. A longer body gets HTTP 413.
const maxBody = 1 << 20

var errBodyTooLarge = errors.New("body too large")

// readBody appends the body of r to b.
func readBody(b []byte, r *http.Request) ([]byte, error) {
	if n := r.ContentLength; n > maxBody {
		return b, errBodyTooLarge
	} else if n > 0 && int64(cap(b)) <= n { // one byte more, so that the same loop reads the end of the body
		b = make([]byte, 0, n+1)
	} else if cap(b) == 0 {
		b = make([]byte, 0, 512)
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > maxBody:
			return b, errBodyTooLarge
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

// parseList appends the cloudIDs of a request body to ids. It returns false if the body is not
// JSON or has no cloudIDs.
func parseList(body string, ids []string) ([]string, bool) {
	if quick, ok := scanList(body, ids); ok {
		return quick, true
	}
	var params struct {
		List []string `json:"cloudid_list"`
	}
	if err := json.Unmarshal([]byte(body), &params); err != nil || len(params.List) == 0 {
		return ids, false
	}
	return append(ids, params.List...), true
}

// scanList is parseList for bodies that hold only a plain list, as clients send. It copies
// nothing.
func scanList(body string, ids []string) ([]string, bool) {
	var ok bool
	for _, token := range [...]string{`{`, `"cloudid_list"`, `:`, `[`} {
		if body, ok = skip(body, token); !ok {
			return ids, false
		}
	}
	// Then comma-separated strings without escapes.
	for more := true; more; {
		if body, ok = skip(body, `"`); !ok {
			return ids, false
		}
		end := strings.IndexByte(body, '"')
		if end < 0 || !plain(body[:end]) {
			return ids, false
		}
		ids = append(ids, body[:end])
		body, more = skip(body[end+1:], `,`)
	}
	for _, token := range [...]string{`]`, `}`} {
		if body, ok = skip(body, token); !ok {
			return ids, false
		}
	}
	return ids, strings.TrimLeft(body, whitespace) == ""
}

// whitespace are the whitespace characters of JSON.
const whitespace = " \t\r\n"

// skip removes leading whitespace and token from s. If token does not follow, it returns s
// unchanged.
func skip(s, token string) (string, bool) {
	rest, found := strings.CutPrefix(strings.TrimLeft(s, whitespace), token)
	if !found {
		return s, false
	}
	return rest, true
}

// queryValue returns the first value of key in a raw query, without building a map of all
// values.
func queryValue(query, key string) string {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		if name != key {
			continue
		}
		if !strings.ContainsAny(value, "%+") {
			return value
		}
		if text, err := url.QueryUnescape(value); err == nil {
			return text
		}
	}
	return ""
}
