package tasks

import "fmt"

// NamePattern is the form of an appid and of the name of a webhook endpoint: 1 to 64 letters, digits, "-" and "_". What
// has it needs no escape in JSON, in a URL, in a key of Redis, in a log or in a label of a metric, and cannot be taken
// for a part of any of them.
//
// An appid of WeChat is "wx" and 16 hexadecimal digits wherever WeChat's documents show one, such as
// https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-access-token/getStableAccessToken.html. WeChat promises
// no form, so none is asked for but this one. It has no dot, no colon and no slash; the rule for both kinds of name is one.
const NamePattern = `^[A-Za-z0-9_-]{1,64}$`

// ValidAppID reports whether an appid has the form of [NamePattern].
func ValidAppID(appID string) bool { return AppIDProblem(appID) == "" }

// AppIDProblem says what is wrong with an appid, or nothing: "is empty", "must be 1 to 64 letters, digits, - or _".
func AppIDProblem(appID string) string { return nameProblem(appID, MaxAppIDBytes) }

// NameProblem is [AppIDProblem] for the name of a webhook endpoint. It says of an empty name that it is empty; where none is
// needed, do not ask.
func NameProblem(name string) string { return nameProblem(name, MaxNameBytes) }

func nameProblem(name string, maxBytes int) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxBytes || !plain(name):
		return fmt.Sprintf("must be 1 to %d letters, digits, - or _", maxBytes)
	default:
		return ""
	}
}

// plain reports whether text has nothing but ASCII letters, digits, "-" and "_". This runs for every payload.
func plain(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
