package secret

import (
	"regexp"
	"strings"
)

// URL is a URL to be shown: with user and password, the values of its query and its fragment redacted. Scheme, host, path
// and the names of the query stay. It goes by the text alone, so that it also redacts what net/url does not take.
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

// cutUser takes user and password off what follows the scheme; user is what to show of them. A password may hold a "/", a "?"
// or a "#" that nobody has escaped, and so end the authority too early. An "@" that comes later then still ends the password:
// any "@" before the query, and one in the query where a ":" stands before it, as it does in a password.
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

// redactQuery keeps the names; what has none is a value.
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
	// anyURL ends at a blank or at the double quote that the text around it brings. All else may stand in a password or in a
	// query, a single quote without any escape, a double quote behind the backslash of %q.
	anyURL = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://(?:\\"|[^\s"])+`)
	// member is one of a query, behind a blank that should not be in a URL: what comes after it is none for anyURL.
	member = regexp.MustCompile(`([?&][A-Za-z0-9_.~%-]+=)[^\s&"#\[][^\s&"#]*`)
	// keyword is a setting of a PostgreSQL DSN of keywords and values that holds a secret. A value with blanks is in single
	// quotes, in which a backslash escapes
	// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE).
	keyword = regexp.MustCompile(`(?i)\b(password|passfile|sslpassword|sslkey|user)(\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s']+)`)
)

// URLsIn is a text with every URL in it as [URL] shows it, and with user, passwords and key files of a PostgreSQL DSN of
// keywords and values redacted.
func URLsIn(text string) string {
	if strings.Contains(text, "://") {
		text = anyURL.ReplaceAllStringFunc(text, URL)
		text = member.ReplaceAllString(text, "${1}"+Redacted)
	}
	return keyword.ReplaceAllString(text, "${1}${2}"+Redacted)
}
