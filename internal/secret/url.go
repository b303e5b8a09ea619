package secret

import (
	"regexp"
	"strings"
)

// URL returns a URL in a form that may be shown. It redacts the user and password, the query
// values and the fragment. The scheme, host, path and query names stay. It works on the text,
// so it also redacts URLs that net/url rejects.
func URL(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "", text
	} else {
		scheme += "://"
	}
	user, rest := cutUser(rest)
	rest, fragment, hasFragment := strings.Cut(rest, "#")
	rest, query, hasQuery := strings.Cut(rest, "?")
	authority, path, hasPath := strings.Cut(rest, "/")
	b := scheme + user + authority
	if hasPath {
		b += "/" + path
	}
	if hasQuery {
		b += "?" + redactQuery(query)
	}
	if hasFragment && fragment != "" {
		b += "#" + Redacted
	}
	return b
}

// cutUser removes the user and password from text, which follows the scheme. It returns the
// redacted text to show for them, and the rest.
//
// A password may contain an unescaped "/", "?" or "#", which seems to end the authority too early.
// So cutUser also accepts a later "@" as the end of the password: any "@" before the query or the
// fragment, and one after that if the authority contains a ":", as before a password.
func cutUser(text string) (user, rest string) {
	before, _, _ := strings.Cut(text, "#")
	before, _, _ = strings.Cut(before, "?")
	authority, _, _ := strings.Cut(before, "/")
	at := strings.LastIndexByte(before, '@')
	if at < 0 && strings.Contains(authority, ":") {
		at = strings.LastIndexByte(text, '@')
	}
	if at < 0 {
		return "", text
	}
	return Redacted + "@", text[at+1:]
}

// redactQuery redacts the values of a query and retains the names. A part without "="
// counts as a value.
func redactQuery(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, value, named := strings.Cut(part, "=")
		switch {
		case part == "", named && value == "":
		case named:
			parts[i] = name + "=" + Redacted
		default:
			parts[i] = Redacted
		}
	}
	return strings.Join(parts, "&")
}

var (
	// anyURL matches a URL up to whitespace or a double quote of the surrounding text. A
	// password or a query may contain any other character. It may contain an unescaped single
	// quote, and a double quote after the backslash that %q adds.
	anyURL = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://(?:\\"|[^\s"])+`)
	// member matches a query parameter that anyURL has missed, because the URL contains
	// whitespace before it.
	member = regexp.MustCompile(`([?&][A-Za-z0-9_.~%-]+=)[^\s&"#\[][^\s&"#]*`)
	// keyword matches a secret setting of a PostgreSQL keyword/value connection string. A value
	// with whitespace is in single quotes, and a backslash escapes a character inside them
	// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE).
	keyword = regexp.MustCompile(`(?i)\b(password|passfile|sslpassword|sslkey|user)(\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s']+)`)
)

// URLsIn returns a text with every URL in it redacted by [URL]. It also redacts the user,
// passwords and key files of a PostgreSQL keyword/value connection string.
func URLsIn(text string) string {
	if strings.Contains(text, "://") {
		text = anyURL.ReplaceAllStringFunc(text, URL)
		text = member.ReplaceAllString(text, "${1}"+Redacted)
	}
	return keyword.ReplaceAllString(text, "${1}${2}"+Redacted)
}
